"""Which stages run again: for each setting exactly those whose result it changes, and those that build on them."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from pydantic import BaseModel
from rich.console import Console

from cartwheel.config import RunSettings, parse_settings
from cartwheel.core.errors import ConfigError, RunError
from cartwheel.pipeline import run_directory, stages
from cartwheel.pipeline.reads import fields_judged, fields_read
from cartwheel.pipeline.run_directory import RunDirectory
from cartwheel.pipeline.stages import COMMANDS, STAGES, Stage, needs, require_done, run_stages, wanted_records
from cartwheel.pipeline.work import judged_configuration
from serving.settings import ServeSettings

ALL: Final = {stage.name for stage in STAGES}
FROM_TABLES: Final = ALL - {"events"}
TASKS: Final = {"tasks", "task_models", "task_evaluation"}
FROM_TASKS: Final = TASKS | {"export"}
FROM_EXAMPLES: Final = FROM_TABLES - {"tables"} - TASKS
FROM_FEATURES: Final = FROM_EXAMPLES - {"examples"}
FROM_RETRIEVAL: Final = {"retrieval", "item_to_item", "ranker", "ranking", "evaluate", "export"}
FROM_ITEM_TO_ITEM: Final = FROM_RETRIEVAL - {"retrieval"}
FROM_RANKER: Final = {"ranker", "ranking", "evaluate", "export"}
FROM_RANKING: Final = {"ranking", "evaluate", "export"}
FROM_CART: Final = {"cart", "evaluate", "export"}
EVALUATE: Final = {"evaluate"}
EXPORT: Final = {"export"}
NONE: Final[set[str]] = set()

DATES: Final = {"prepare": {"valid_from": "2024-02-01", "test_from": "2024-02-08"}}
FACTORS: Final = {"retrieval": {"model": "als"}}
COSTS: Final = {"evaluate": {"threshold": "cost", "cost_of_false_positive": 1.0, "cost_of_false_negative": 1.0}}
CHURN: Final = {"tasks": {"churn": {"use": "churn"}}}
OWN: Final = {"features": {"own": {"colour": {"kind": "text"}}}}
TABLE: Final = {"source": {"kind": "table", "path": "events.parquet"}}
"""Relative paths start at the folder of the test."""


@dataclass(frozen=True)
class Row:
    """What a setting changes: where it is ``other`` and not as in ``given``, the keys of ``changed`` differ, and no others."""

    setting: str
    other: Any
    changed: set[str]
    given: Mapping[str, Any] = field(default_factory=dict)


ROWS: Final = (
    Row("seed", 2, ALL),
    Row("seed", 2, FROM_EXAMPLES, TABLE),
    Row("run", "elsewhere", NONE),
    Row("source.kind", "table", ALL, {"source": {"path": "events.parquet"}}),
    Row("source.path", "other.parquet", ALL, TABLE),
    Row("source.columns", {"item_id": "sku"}, ALL, TABLE),
    Row("source.event_types", {"add": "cart"}, ALL, TABLE),
    Row("source.default_event_type", "view", ALL, TABLE),
    Row("source.default_item_id", "view", ALL, TABLE),
    Row("source.encoding", "cp1252", ALL, TABLE),
    Row("source.separator", ";", ALL, TABLE),
    Row("source.quote", "'", ALL, TABLE),
    Row("source.escape", "\\", ALL, TABLE),
    Row("source.header", False, ALL, TABLE),
    Row("source.timestamp_format", "ms", ALL, TABLE),
    Row("source.timezone", "Europe/Berlin", ALL, TABLE),
    Row("source.null_values", ("-",), ALL, TABLE),
    Row("source.exact_ids", True, ALL, TABLE),
    Row("source.decimal", ",", ALL, TABLE),
    *(Row(f"source.{name}", 77, ALL) for name in ("shoppers", "items", "days")),
    *(Row(f"source.{name}", 77, NONE, TABLE) for name in ("shoppers", "items", "days")),
    Row("events.max_bad_share", 0.5, ALL),
    Row("events.repeats", "keep", ALL),
    Row("events.latest", "2024-05-05", ALL),
    Row("events.extra_types", ("scan",), ALL),
    Row("tables", {"items": {"path": "other.parquet"}}, FROM_TABLES),
    Row("tables", {"identity": {"path": "other.parquet"}}, ALL, TABLE),
    Row("features.own", {"colour": {"kind": "category"}}, FROM_TABLES),
    Row("tasks", {"churn": {"use": "churn", "every_days": 3}}, FROM_TASKS, CHURN),
    Row("tasks", {"churn": {"use": "churn", "interval": 0.9}}, FROM_TASKS, CHURN),
    Row("seed", 2, ALL, CHURN),
    Row("prepare.session_gap_minutes", 31, FROM_EXAMPLES | FROM_TASKS, CHURN),
    *(Row(f"prepare.{name}", 0.2, FROM_TASKS, {**CHURN, **DATES}) for name in ("valid_share", "test_share")),
    Row("evaluate.bootstrap", 200, {"evaluate", "task_evaluation"}, CHURN),
    Row("seed", 2, ALL, OWN),
    *(Row(f"prepare.{name}", 0.2, FROM_TABLES, OWN) for name in ("valid_share", "test_share")),
    Row("prepare.test_from", "2024-02-09", FROM_TABLES, {**OWN, **DATES}),
    Row("prepare.session_gap_minutes", 31, FROM_TABLES, OWN),
    *(Row(f"prepare.{name}", 0.2, FROM_EXAMPLES) for name in ("valid_share", "test_share")),
    *(Row(f"prepare.{name}", 0.2, NONE, DATES) for name in ("valid_share", "test_share")),
    Row("prepare.valid_from", "2024-02-02", FROM_EXAMPLES, DATES),
    Row("prepare.test_from", "2024-02-09", FROM_EXAMPLES, DATES),
    Row("prepare.session_gap_minutes", 31, FROM_EXAMPLES),
    Row("prepare.interaction_types", ("view",), FROM_EXAMPLES),
    Row("prepare.recent_items", 21, FROM_EXAMPLES),
    Row("prepare.state_minutes", 60, FROM_EXAMPLES),
    Row("prepare.popularity_days", 8.0, FROM_EXAMPLES),
    Row("recommend.leave_out", "nothing", FROM_EXAMPLES),
    Row("prepare.horizon_days", 8.0, FROM_EXAMPLES),
    Row("prepare.cart_window_hours", 23.0, FROM_EXAMPLES),
    Row("prepare.request_share", 0.4, FROM_EXAMPLES),
    Row("prepare.negatives", 5, FROM_EXAMPLES),
    Row("prepare.max_train_examples", 9, FROM_EXAMPLES),
    Row("prepare.max_eval_anchors", 9, FROM_EXAMPLES),
    Row("prepare.windows", 3, FROM_EXAMPLES),
    Row("prepare.max_window_anchors", 9, FROM_EXAMPLES),
    Row("features.families", ["user_activity"], FROM_EXAMPLES),
    Row("features.min_user_events", 3, FROM_FEATURES),
    Row("features.min_item_events", 3, FROM_FEATURES),
    Row("features.engine", "nvtabular", FROM_FEATURES),
    Row("features.keep_ids_of", "earlier", FROM_FEATURES),
    Row("two_tower.start_from", "earlier", FROM_RETRIEVAL),
    Row("ranking.start_from", "earlier", FROM_RANKING),
    Row("cart.start_from", "earlier", FROM_CART),
    Row("retrieval.model", "als", FROM_RETRIEVAL),
    Row("retrieval.parameters", {"factors": 8}, FROM_RETRIEVAL, FACTORS),
    *(
        Row(f"two_tower.{name}", other, FROM_RETRIEVAL)
        for name, other in {
            "epochs": 3,
            "patience": 3,
            "batch_size": 64,
            "average_epochs": 2,
            "learning_rate": 0.1,
            "embedding_l2": 0.1,
            "id_dropout": 0.2,
            "dimension": 8,
            "embedding_dimension": 8,
            "hidden": (8,),
            "start": "random",
            "temperature": 0.2,
            "history": "gru",
            "attention_blocks": 2,
            "attention_heads": 4,
            "dropout": 0.1,
            "refit": False,
            "uniform_negatives": 8,
            "hard_negatives": 8,
        }.items()
    ),
    Row("item_to_item.learner", "ease", FROM_ITEM_TO_ITEM),
    Row("item_to_item.factors", ("als",), FROM_ITEM_TO_ITEM),
    Row("item_to_item.neighbours", 9, FROM_ITEM_TO_ITEM),
    *(
        Row(f"{section}.{name}", other, changed)
        for section, changed in (("ranking", FROM_RANKING), ("cart", FROM_CART))
        for name, other in {
            "epochs": 3,
            "patience": 4,
            "batch_size": 64,
            "average_epochs": 2,
            "learning_rate": 0.1,
            "embedding_l2": 0.1,
            "id_dropout": 0.2,
            "embedding_dimension": 8,
            "bottom": (8,),
            "top": (8,),
        }.items()
    ),
    Row("evaluate.cutoffs", (5,), EVALUATE),
    Row("evaluate.bootstrap", 200, EVALUATE),
    *(
        Row(f"ranker.{name}", other, FROM_RANKER)
        for name, other in {"trees": 0, "leaves": 4, "learning_rate": 0.2, "min_rows": 9, "l2": 1.0, "feature_share": 0.9}.items()
    ),
    Row("evaluate.candidates", 9, FROM_RANKER),
    Row("evaluate.max_two_stage_anchors", 9, FROM_ITEM_TO_ITEM),
    Row("evaluate.threshold", 0.5, EVALUATE),
    Row("evaluate.cost_of_false_positive", 2.0, EVALUATE, COSTS),
    Row("evaluate.cost_of_false_negative", 2.0, EVALUATE, COSTS),
    Row("evaluate.baselines", ("ease",), EVALUATE),
    Row("evaluate.baseline_parameters", {"als": {"factors": 8}}, EVALUATE),
    Row("export.target", "native", EXPORT),
    Row("export.max_k", 9, EXPORT),
    Row("export.max_batch", 9, EXPORT),
    Row("export.queue_microseconds", 9, EXPORT),
    Row("export.diversity", 0.5, EXPORT),
    Row("export.max_per_category", 9, EXPORT),
    Row("export.parity_rows", 9, EXPORT),
    Row("export.keep_versions", 9, EXPORT),
)
NO_STAGE_READS: Final = ("serve", "deploy")
"""Sections that `cartwheel serve` and `cartwheel deploy` read, which run no stage."""


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, info in model.model_fields.items():
        nested = info.annotation
        is_section = isinstance(nested, type) and issubclass(nested, BaseModel)
        found += leaves(nested, f"{prefix}{name}.") if is_section else [prefix + name]  # type: ignore[arg-type]
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two logs and the workflow of an earlier run, in which relative paths start."""
    monkeypatch.chdir(tmp_path)
    for name in ("events.parquet", "other.parquet"):
        write_log(tmp_path / name, name)
    workflow = tmp_path / "earlier" / "workflow" / "recommend"
    workflow.mkdir(parents=True)
    (workflow / "workflow.pkl").write_bytes(b"the ids of the earlier run")
    for model in ("two_tower", "ranking", "cart"):
        (tmp_path / "earlier" / "models" / model).mkdir(parents=True)
        (tmp_path / "earlier" / "models" / model / "weights.npz").write_bytes(b"what the earlier run learnt")
    return tmp_path


def write_log(path: Path, sku: str) -> None:
    """Write a log that has whatever column a row of the table names, in a form that no setting of text files keeps from being read."""
    columns = ("user_id", "item_id", "event_type", "timestamp", "sku")
    pl.DataFrame({name: [sku] for name in columns}).write_parquet(path, compression="uncompressed")


def settings_of(given: Mapping[str, Any], **more: Any) -> RunSettings:
    return parse_settings({**given, **more}, "test", Path.cwd())


def with_other(given: Mapping[str, Any], setting: str, other: Any) -> RunSettings:
    section, _, name = setting.partition(".")
    if not name:
        return settings_of(given, **{section: other})
    return settings_of(given, **{section: {**given.get(section, {}), name: other}})


def keys(settings: RunSettings) -> dict[str, str]:
    return {name: record.key for name, record in wanted_records(settings, COMMANDS, {}).items()}


def differing(one: RunSettings, other: RunSettings) -> set[str]:
    first, second = keys(one), keys(other)
    return {name for name in first if first[name] != second[name]}


def test_every_setting_has_a_row() -> None:
    known = {name for name in leaves(RunSettings) if name.partition(".")[0] not in NO_STAGE_READS}
    assert {row.setting for row in ROWS} == known, (
        "a setting needs a row here, and a stage that declares it in cartwheel/pipeline/reads.py"
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.setting}-{next(iter(row.given), 'default')}")
def test_a_setting_changes_the_keys_of_the_stages_that_depend_on_it_and_no_others(folder: Path, row: Row) -> None:
    before = with_other(row.given, "source.path", None) if row.setting == "source.kind" else settings_of(row.given)
    assert differing(before, with_other(row.given, row.setting, row.other)) == row.changed


@pytest.mark.parametrize("setting", [row for row in ROWS if row.setting.startswith("two_tower.")], ids=lambda row: row.setting)
def test_a_factor_model_reads_nothing_of_the_two_tower(folder: Path, setting: Row) -> None:
    assert differing(settings_of(FACTORS), with_other(FACTORS, setting.setting, setting.other)) == NONE


def test_what_is_judged_is_what_models_are_made_of_and_not_how_fast_or_how_often_it_is_looked_at() -> None:
    judged = set(fields_judged(RunSettings()))
    assert {"seed", "prepare.negatives", "features.min_item_events", "two_tower.epochs", "cart.epochs"} <= judged
    assert {"evaluate.candidates", "evaluate.baseline_parameters"} <= judged
    others = {"features.engine", "features.keep_ids_of", "evaluate.max_two_stage_anchors", "evaluate.bootstrap", "export.max_k"}
    assert not judged & others
    assert not [name for name in judged if name.startswith(("source.", "events.", "serve."))]
    assert list(fields_judged(RunSettings())) == sorted(judged)


def test_evaluation_is_handed_what_it_writes_the_hash_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes: list[str] = []

    def work(run: Path, settings: RunSettings) -> None:
        hashes.append(judged_configuration(settings))

    [only] = [replace(stage, upstream=(), work=work) for stage in STAGES if stage.name == "evaluate"]
    monkeypatch.setattr(stages, "STAGES", (only,))
    run_stages(settings_of(TABLE), ["evaluate"], Console(file=io.StringIO()))
    assert hashes == [judged_configuration(settings_of(TABLE))]


def test_no_other_stage_is_handed_what_is_judged() -> None:
    settings = settings_of(TABLE)
    judged = set(fields_judged(settings))
    for stage in STAGES:
        assert set(needs(stage, settings)) == set(fields_read(stage.name, settings)) | (
            judged if stage.name == "evaluate" else set()
        )


def test_no_stage_knows_how_a_run_is_served() -> None:
    assert differing(RunSettings(), RunSettings(serve=ServeSettings(grpc_port=1, host="::1", drain_seconds=1.0))) == NONE


def test_another_version_runs_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(RunSettings())
    monkeypatch.setattr(run_directory, "__version__", "0.0.0-other")
    after = keys(RunSettings())
    assert not set(before.values()) & set(after.values())


def test_two_stages_with_the_same_settings_have_keys_of_their_own(folder: Path) -> None:
    assert len(set(keys(RunSettings()).values())) == len(STAGES)


class TestWhatLiesOutside:
    def test_a_source_counts_by_name_size_and_time_of_change(self, folder: Path) -> None:
        log, settings = folder / "events.parquet", settings_of(TABLE)
        before, stamp = keys(settings), log.stat()
        write_log(log, "events-parquet")  # as long as before
        assert log.stat().st_size == stamp.st_size
        os.utime(log, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert keys(settings) == before
        os.utime(log, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
        assert {name for name, key in keys(settings).items() if key != before[name]} == ALL
        os.utime(log, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert keys(settings) == before
        write_log(log, "longer than before")
        os.utime(log, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert {name for name, key in keys(settings).items() if key != before[name]} == ALL

    def test_a_source_that_is_moved_with_its_time_is_the_same(self, folder: Path) -> None:
        before = keys(settings_of(TABLE))
        shutil.move(folder / "events.parquet", folder / "earlier" / "events.parquet")
        assert keys(settings_of({"source": {"kind": "table", "path": "earlier/events.parquet"}})) == before

    def test_a_part_that_moves_to_another_folder_of_the_source_counts(self, folder: Path) -> None:
        for name in ("event_type=cart", "event_type=view"):
            (folder / "log" / name).mkdir(parents=True)
            write_log(folder / "log" / name / f"{name[-4:]}.parquet", name)
        settings = settings_of({"source": {"kind": "table", "path": "log/*/*.parquet"}})
        before = keys(settings)
        shutil.move(folder / "log/event_type=cart/cart.parquet", folder / "log/event_type=view/cart.parquet")
        assert keys(settings)["events"] != before["events"]

    def test_ids_that_are_kept_count_by_the_workflow_that_holds_them(self, folder: Path) -> None:
        settings = settings_of({"features": {"keep_ids_of": "earlier"}})
        before = keys(settings)
        shutil.copytree(folder / "earlier", folder / "moved")
        assert keys(settings_of({"features": {"keep_ids_of": "moved"}})) == before
        (folder / "earlier" / "manifest.json").write_text("of no matter for the ids")
        assert keys(settings) == before
        (folder / "earlier/workflow/recommend/workflow.pkl").write_bytes(b"the ids of the earlier rum")
        assert {name for name, key in keys(settings).items() if key != before[name]} == FROM_FEATURES

    def test_an_earlier_run_without_ids_is_refused_before_anything_runs(self, folder: Path) -> None:
        with pytest.raises(RunError, match=r"features\.keep_ids_of is .*nowhere, which has no fitted workflow"):
            keys(settings_of({"features": {"keep_ids_of": "nowhere"}}))

    @pytest.mark.parametrize("given", [TABLE, {"features": {"keep_ids_of": "earlier"}}], ids=["source", "ids"])
    def test_it_need_not_be_there_where_what_reads_it_is_not_to_be_run(self, folder: Path, given: Mapping[str, Any]) -> None:
        settings = settings_of(given)
        records = wanted_records(settings, COMMANDS, {})
        (folder / "events.parquet").unlink()
        shutil.rmtree(folder / "earlier")
        assert wanted_records(settings, ("train",), records) == records

    @pytest.mark.parametrize("given", [TABLE, {"features": {"keep_ids_of": "earlier"}}], ids=["source", "ids"])
    def test_what_the_manifest_does_not_know_of_is_not_done(self, folder: Path, given: Mapping[str, Any]) -> None:
        plain = wanted_records(RunSettings(), COMMANDS, {})
        stage = "events" if "source" in given else "features"
        for records in ({}, plain):
            found = wanted_records(settings_of(given), ("train",), records)[stage].key
            assert found not in {plain[stage].key, keys(settings_of(given))[stage]}


class TestRunning:
    """The loop over the stages, with stages that write one small file each."""

    @pytest.fixture
    def ran(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the stages that ran, in order; each writes what it was handed."""
        ran: list[str] = []

        def quick(stage: Stage) -> Stage:
            def work(run: Path, settings: RunSettings) -> None:
                ran.append(stage.name)
                target = run / stage.outputs[0]
                target.mkdir(parents=True, exist_ok=True)
                (target / "out.txt").write_text(repr(settings))

            return replace(stage, work=work)

        monkeypatch.setattr(stages, "STAGES", tuple(quick(stage) for stage in STAGES))
        return ran

    @staticmethod
    def run(settings: RunSettings, *commands: str) -> str:
        console = Console(file=io.StringIO(), width=200)
        run_stages(settings, commands or COMMANDS, console)
        return console.file.getvalue()  # type: ignore[attr-defined]

    def test_all_run_once_in_order_and_then_none(self, folder: Path, ran: list[str]) -> None:
        settings = settings_of(TABLE)
        assert "already done" not in self.run(settings)
        assert ran == [stage.name for stage in STAGES]
        manifest = RunDirectory(settings.run).manifest()
        assert {name: record.model_copy(update={"seconds": 0.0, "files": {}}) for name, record in manifest.stages.items()} == (
            wanted_records(settings, COMMANDS, {})
        )
        assert all(record.files for record in manifest.stages.values())
        assert self.run(settings).count("already done, skipped") == len(STAGES)
        assert len(ran) == len(STAGES)

    @pytest.mark.parametrize(
        ("setting", "other", "again"),
        [
            ("evaluate.bootstrap", 200, EVALUATE),
            ("evaluate.threshold", 0.5, EVALUATE),
            ("evaluate.candidates", 9, FROM_RANKER),
            ("cart.epochs", 3, FROM_CART),
            ("seed", 9, FROM_EXAMPLES),
        ],
    )
    def test_after_a_change_what_depends_on_it_runs_again(
        self, folder: Path, ran: list[str], setting: str, other: Any, again: set[str]
    ) -> None:
        self.run(settings_of(TABLE))
        ran.clear()
        self.run(with_other(TABLE, setting, other))
        assert set(ran) == again

    def test_a_stage_whose_file_was_touched_runs_again_alone(self, folder: Path, ran: list[str]) -> None:
        settings = settings_of(TABLE)
        self.run(settings)
        ran.clear()
        (settings.run / "snapshot").mkdir()
        os.utime(settings.run / "examples" / "out.txt", ns=(1, 1))
        (settings.run / "workflow" / "out.txt").write_text("other")
        self.run(settings)
        assert ran == ["features"]

    @pytest.mark.parametrize(("command", "needed"), [("train", "events"), ("evaluate", "events"), ("export", "events")])
    def test_a_command_without_what_it_needs_names_what_to_run(
        self, folder: Path, ran: list[str], command: str, needed: str
    ) -> None:
        with pytest.raises(RunError, match=rf"The stage '{needed}' has not been run in .* Run `cartwheel prepare` with it first"):
            self.run(settings_of(TABLE), command)
        assert ran == []

    def test_a_run_of_another_version_is_refused_in_a_sentence_and_made_again(self, folder: Path, ran: list[str]) -> None:
        settings = settings_of(TABLE)
        self.run(settings)
        ran.clear()
        manifest = settings.run / "manifest.json"
        content = {**json.loads(manifest.read_text()), "cartwheel": "0.2.0"}
        for record in content["stages"].values():
            record["key"] = "another"  # the version is part of it
        manifest.write_text(json.dumps(content))
        said = r"was made by Cartwheel 0\.2\.0, and this is Cartwheel .* Make it again with `cartwheel run`"
        with pytest.raises(RunError, match=said):
            self.run(settings, "evaluate")
        assert ran == []
        self.run(settings)
        assert len(ran) > 5

    @pytest.mark.parametrize("model", ["ranking", "cart"])
    def test_export_and_evaluation_need_both_models(self, folder: Path, ran: list[str], model: str) -> None:
        self.run(settings_of(TABLE), "prepare", "train")
        changed = settings_of(TABLE, **{model: {"epochs": 3}})
        for command in ("evaluate", "export"):
            with pytest.raises(RunError, match=f"The stage '{model}' has not been run"):
                self.run(changed, command)

    def test_a_command_needs_nothing_of_what_stands_beside_it(self, folder: Path, ran: list[str]) -> None:
        settings = settings_of(TABLE)
        self.run(settings, "prepare", "train")
        (folder / "events.parquet").unlink()
        ran.clear()
        assert "skipped" not in self.run(settings, "export")
        assert ran == ["export"]

    def test_a_stage_that_fails_is_not_done(self, folder: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(run: Path, settings: RunSettings) -> None:
            raise RunError("broken off")

        broken = tuple(replace(stage, work=fail) if stage.name == "cart" else stage for stage in stages.STAGES)
        with monkeypatch.context() as context:
            context.setattr(stages, "STAGES", broken)
            with pytest.raises(RunError, match="broken off"):
                self.run(settings_of(TABLE))
        before = list(ran)
        assert before == [name for name in before if name not in FROM_CART]
        self.run(settings_of(TABLE))
        assert ran[len(before) :] == ["cart", "task_models", "task_evaluation", "evaluate", "export"]

    def test_what_is_required_is_checked_with_its_files(self, folder: Path, ran: list[str]) -> None:
        settings = settings_of(TABLE)
        run = RunDirectory(settings.run)
        with pytest.raises(RunError, match="The stage 'features' has not been run"):
            require_done(settings, run, ["features"])
        self.run(settings, "prepare")
        require_done(settings, run, ["events", "features"])
        with pytest.raises(RunError, match=r"The stage 'cart' has not been run .* Run `cartwheel train`"):
            require_done(settings, run, ["features", "cart"])
        for other in range(5, 13):  # keys that come before the recorded one, and keys that come after it
            with pytest.raises(RunError, match="The stage 'features' has not been run"):
                require_done(with_other(TABLE, "features.min_user_events", other), run, ["events", "features"])
        (settings.run / "workflow" / "out.txt").unlink()
        require_done(settings, run, ["features"], without=["workflow/"])
        with pytest.raises(RunError, match="The stage 'features' has not been run"):
            require_done(settings, run, ["features"], without=["features/"])

    def test_a_stage_is_handed_what_it_declares_and_nothing_else(self, folder: Path, ran: list[str]) -> None:
        settings = settings_of(TABLE)
        self.run(settings)
        told = (settings.run / "models/item_to_item/out.txt").read_text()
        assert "max_two_stage_anchors=2000" in told
        assert "bootstrap" not in told
        assert "epochs" not in told

    def test_a_table_counts_by_its_file_wherever_that_lies(self, folder: Path) -> None:
        before = keys(settings_of({"tables": {"items": {"path": "other.parquet"}}}))
        shutil.move(folder / "other.parquet", folder / "earlier" / "other.parquet")
        settings = settings_of({"tables": {"items": {"path": "earlier/other.parquet"}}})
        assert keys(settings) == before
        write_log(folder / "earlier" / "other.parquet", "another, longer log")
        assert {name for name, key in keys(settings).items() if key != before[name]} == FROM_TABLES


SHOP: Final = {
    "features": {"families": ["staged_family:Mine"]},
    "tasks": {
        "churn": {
            "use": "churn",
            "features": ["user_activity", "staged_features:Nights"],
            "learners": ["staged_models:Mine"],
            "metrics": ["staged_metrics:BIAS"],
        }
    },
}
MODULES: Final = {
    "staged_family": "from workflows.features.item_activity import ItemActivity as Mine",
    "staged_features": "from workflows.features.user_activity import UserActivity as Nights",
    "staged_models": "from models.families.rows.base_rate import BaseRateLearner\nclass Mine(BaseRateLearner):\n    name = 'mine'",
    "staged_metrics": "from cartwheel import Answer, Metric\n"
    "BIAS = Metric('bias', '', '', 'lower', frozenset(Answer), rows=lambda o: abs(o.predicted - o.truth))",
}


@pytest.mark.parametrize(
    ("module", "changed"),
    [
        ("staged_family", FROM_EXAMPLES),
        ("staged_features", FROM_TASKS),
        ("staged_models", FROM_TASKS - {"tasks"}),
        ("staged_metrics", {"task_evaluation"}),
    ],
)
def test_the_shops_own_modules_count_where_they_are_used(folder: Path, module: str, changed: set[str]) -> None:
    for name, code in MODULES.items():
        (folder / f"{name}.py").write_text(code)
    for name in MODULES:
        sys.modules.pop(name, None)
    before = keys(settings_of(SHOP))
    (folder / f"{module}.py").write_text(f"{MODULES[module]}\n# changed\n")
    after = keys(settings_of(SHOP))
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize("key", ["learners", "metrics"])
def test_what_a_task_names_and_is_not_there_is_refused_before_anything_runs(folder: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"tasks.churn.{key}.*no module 'staged_nowhere'"):
        keys(settings_of({"tasks": {"churn": {"use": "churn", key: ["staged_nowhere:Thing"]}}}))
