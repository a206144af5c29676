"""A stage reads what it declares: nothing else, for it is handed nothing else, and all of it, for the reads are recorded here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from pydantic import BaseModel

from cartwheel.config import RunSettings
from cartwheel.pipeline.reads import fields_judged, fields_read, handed, values_of
from cartwheel.pipeline.stages import STAGES, Stage

TINY: Final[dict[str, Any]] = {
    "seed": 3,
    "source": {"kind": "simulated", "shoppers": 150, "items": 80, "days": 20},
    "prepare": {"max_eval_anchors": 200},
    "two_tower": {"epochs": 1, "dimension": 8, "embedding_dimension": 8, "hidden": (8,), "refit": False},
    "item_to_item": {"learner": "item_knn"},
    "ranking": {"epochs": 1, "bottom": (8,), "top": (8,), "embedding_dimension": 8},
    "cart": {"epochs": 1, "bottom": (8,), "top": (8,), "embedding_dimension": 8},
    "evaluate": {
        "baselines": ("item_knn",),
        "bootstrap": 100,
        "candidates": 30,
        "max_two_stage_anchors": 100,
        "threshold": "cost",
        "cost_of_false_positive": 1.0,
        "cost_of_false_negative": 2.0,
    },
    "export": {"max_k": 20, "parity_rows": 50},
}


def recorded(settings: BaseModel, seen: set[str], prefix: str = "") -> Any:
    """Return the same settings, which put the name of each field that is read of them into ``seen``."""
    kind = type(settings)
    sections = {name for name, info in kind.model_fields.items() if isinstance(settings.__dict__.get(name), BaseModel)}
    plain = set(kind.model_fields) - sections

    class Recording(kind):  # type: ignore[valid-type,misc]
        def __getattribute__(self, name: str) -> Any:
            if name in plain:
                seen.add(prefix + name)
            return super().__getattribute__(name)

        def model_dump(self, **options: Any) -> dict[str, Any]:
            seen.update(prefix + name for name in plain & set(self.__dict__))
            return super().model_dump(**options)

    copy = settings.model_copy()
    for name in sections:
        copy.__dict__[name] = recorded(copy.__dict__[name], seen, f"{name}.")
    object.__setattr__(copy, "__class__", Recording)
    return copy


def read_by(stage: Stage, run: Path, settings: RunSettings) -> set[str]:
    """Run a stage; return the fields that it read."""
    seen: set[str] = set()
    declared = {*fields_read(stage.name, settings), *(fields_judged(settings) if stage.name == "evaluate" else ())}
    stage.work(run, recorded(handed(settings, declared), seen))
    return seen


def settings_of(**sections: Any) -> RunSettings:
    return RunSettings.model_validate({**TINY, **sections})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reads") / "run"


BY_NAME: Final = {stage.name: stage for stage in STAGES}


class TestRecording:
    """In the order of the stages, each of which builds on the one before."""

    @pytest.mark.slow
    @pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
    def test_a_stage_reads_every_field_that_it_declares(self, run: Path, stage: Stage) -> None:
        settings = settings_of()
        read = read_by(stage, run, settings)
        assert read >= set(fields_read(stage.name, settings))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "sections"),
        [
            ("retrieval", {"retrieval": {"model": "als", "parameters": {"factors": 4, "iterations": 1}}}),
            ("examples", {"prepare": {"valid_from": "2025-01-19", "test_from": "2025-01-22"}}),
        ],
        ids=["factors", "dates"],
    )
    def test_so_does_it_where_it_reads_other_fields(self, run: Path, name: str, sections: dict[str, Any]) -> None:
        settings = settings_of(**sections)
        assert read_by(BY_NAME[name], run, settings) >= set(fields_read(name, settings))

    def test_a_log_of_files_is_read_with_all_that_says_how(self, run: Path, tmp_path: Path) -> None:
        events = pl.scan_parquet(run / "events" / "events.parquet").head(500)
        events.select("user_id", "item_id", "event_type", pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S")).sink_csv(
            tmp_path / "log.csv"
        )
        settings = settings_of(source={"kind": "table", "path": tmp_path / "log.csv"})
        declared = set(fields_read("events", settings))
        assert read_by(BY_NAME["events"], tmp_path / "run", settings) >= declared

    def test_own_features_are_made_with_all_that_says_how(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "calendar.csv").write_text("date,sale\n" + "".join(f"2025-01-{day:02d},{day % 2}\n" for day in range(1, 32)))
        sections = {
            "tables": {"calendar": {"path": tmp_path / "calendar.csv"}},
            "features": {"own": {"sale": {"kind": "boolean"}}},
        }
        for dates in ({}, {"prepare": {"valid_from": "2025-01-19", "test_from": "2025-01-22"}}):
            settings = settings_of(**sections, **dates)
            assert read_by(BY_NAME["tables"], run, settings) >= set(fields_read("tables", settings))


def test_what_is_not_declared_cannot_be_read() -> None:
    settings = settings_of()
    given = handed(settings, ("seed", "evaluate.candidates", "export.max_k"))
    assert (given.seed, given.evaluate.candidates, given.export.max_k) == (3, 30, 20)
    with pytest.raises(AttributeError, match="bootstrap"):
        _ = given.evaluate.bootstrap
    with pytest.raises(AttributeError, match="prepare"):
        _ = given.prepare
    assert given.evaluate.model_dump() == {"candidates": 30}
    assert (settings.evaluate.bootstrap, settings.prepare.max_eval_anchors) == (100, 200), "the settings themselves are as before"


def test_values_hold_the_fields_alone_and_of_paths_the_last_part(tmp_path: Path) -> None:
    settings = settings_of(source={"kind": "table", "path": tmp_path / "log.csv"}, features={"keep_ids_of": tmp_path / "earlier"})
    assert values_of(settings, ("seed", "source.path", "evaluate.bootstrap", "features.keep_ids_of", "source.kind")) == {
        "seed": 3,
        "source": {"path": "log.csv", "kind": "table"},
        "evaluate": {"bootstrap": 100},
        "features": {"keep_ids_of": "earlier"},
    }
