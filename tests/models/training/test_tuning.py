"""Models and baselines tuned on a small run: by the right figure, on validation alone, leaving the run as it is."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import ConfigError, DataError
from cartwheel.core.files import sha256, write_json
from cartwheel.core.run_layout import RunLayout
from models.families.dlrm.settings import DLRMSettings
from models.families.two_tower.settings import TwoTowerSettings
from models.tuning.study import Budget, Tuned, tune
from models.tuning.subject import DivergedError, Subject
from models.tuning.subjects import _Watched, baseline_subject, dlrm_subject, two_tower_subject
from models.tuning.validation import lay_out
from workflows.features.columns import QUERY_LISTS

BEGIN = datetime(2024, 5, 1, tzinfo=timezone.utc)
DAYS = {"train": 0, "valid": 20, "test": 25}
TWO_TOWER = TwoTowerSettings(epochs=2, batch_size=128, learning_rate=0.01, dimension=16, embedding_dimension=8, hidden=(64,))
DLRM = DLRMSettings(epochs=2, batch_size=256, embedding_dimension=8, bottom=(32,), top=(32,))


def write_examples(run: Path) -> None:
    """Write what tuning reads beside the features: examples in names where features have ids, and the log behind them."""
    events, anchors = [], pl.Datetime("us", "UTC")
    for split, day in DAYS.items():
        features = pl.read_parquet(run / "features" / split / "recommend" / "part_0.parquet")
        rows = features.height
        named = features.select(
            user_key=pl.format("u{}", "user_id"),
            anchor=pl.Series([BEGIN + timedelta(days=day, minutes=row) for row in range(rows)], dtype=anchors),
            target_items=pl.concat_list(pl.format("i{}", "item_id")),
            recent_items=pl.col(QUERY_LISTS[0]).list.eval(pl.format("i{}", pl.element())),
            left_out=pl.lit([], pl.List(pl.String)),
        )
        (run / "examples" / split).mkdir(parents=True)
        named.write_parquet(run / "examples" / split / "recommend.parquet")
        if split != "train":
            items = pl.read_parquet(run / "features" / split / "catalogue" / "part_0.parquet")
            items.select(item_id=pl.format("i{}", "item_id")).write_parquet(run / "examples" / split / "catalogue.parquet")
        events.append(named.select(user_id="user_key", item_id=pl.col("target_items").list.first(), timestamp="anchor"))
    known = items.select(
        user_id=pl.lit("stock"), item_id=pl.format("i{}", "item_id"), timestamp=pl.lit(BEGIN - timedelta(days=1)).cast(anchors)
    )
    events.append(known)  # what is in a catalogue has been seen before
    nothing = [pl.lit(None, pl.String).alias(name) for name in ("session_id", "category", "brand")]
    log = pl.concat(events).with_columns(
        pl.lit("view").alias("event_type"), pl.lit(1.0).alias("price"), pl.lit(None, pl.Float64).alias("quantity"), *nothing
    )
    (run / "events").mkdir()
    log.sort("timestamp").write_parquet(run / "events" / "events.parquet")
    state = {"recent_items": 10, "leave_out": "nothing", "interaction_types": ["view"], "session_gap_us": 1_800_000_000}
    write_json(run / "snapshot" / "state.json", state)
    starts = {f"t_{split}": (BEGIN + timedelta(days=day)).isoformat() for split, day in DAYS.items() if split != "train"}
    write_json(run / "examples" / "report.json", starts)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, planted: Callable[..., Path], shop: Any) -> Path:
    """A run after prepare; tests write only ``tuning/``."""
    run = planted(tmp_path_factory.mktemp("tiny") / "run", shop, 1_200, pairs=1_200)
    write_examples(run)
    return run


def subject_of(run: Path, model: str, seed: int = 3) -> Subject:
    data = lay_out(run, run / "tuning" / "data", events=model not in ("two_tower", "ranking"))
    if model == "two_tower":
        return two_tower_subject(data, TWO_TOWER, seed)
    return dlrm_subject(data, model, DLRM, seed) if model == "ranking" else baseline_subject(data, model, {}, seed)


def tuned(run: Path, model: str, trials: int) -> Tuned:
    return tune(subject_of(run, model), run / "tuning", Budget(trials), 3, lambda line: None)


def said(found: Tuned) -> list[tuple[Mapping[str, Any], float | None]]:
    return [(trial.values, trial.value) for trial in found.trials]


def without_test(run: Path, copy: Path) -> Path:
    """Copy a run and delete all of its test split: examples, features and events."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("tuning"))
    shutil.rmtree(copy / "examples" / "test")
    shutil.rmtree(copy / "features" / "test")
    log = pl.read_parquet(copy / "events" / "events.parquet")
    kept = log.filter(pl.col("timestamp") < BEGIN + timedelta(days=DAYS["test"]))
    assert 0 < kept.height < log.height
    kept.write_parquet(copy / "events" / "events.parquet")
    return copy


@pytest.mark.parametrize("model", ["als", "item_knn"])
def test_a_run_without_its_test_split_is_tuned_to_the_same(tiny: Path, tmp_path: Path, model: str) -> None:
    before = {name: sha256(tiny / name) for name in ("examples", "features", "events", "snapshot")}
    found = tuned(tiny, model, 2)
    assert len(found.trials) == 2
    assert said(tuned(without_test(tiny, tmp_path / "copy"), model, 2)) == said(found)
    assert {name: sha256(tiny / name) for name in before} == before
    assert not (tiny / "models").exists()


def test_trials_are_given_nothing_of_the_test_split(tiny: Path) -> None:
    data = lay_out(tiny, tiny / "tuning" / "seen", events=True)
    held = {path.relative_to(data).as_posix() for path in data.rglob("*")}
    assert not [name for name in held if "test" in name]
    assert {path.name for path in (data / "features").iterdir()} == {"train", "valid"}
    assert {path.name for path in (data / "examples").iterdir()} == {"valid", "report.json"}
    last = pl.read_parquet(data / "events" / "events.parquet")["timestamp"].max()
    assert isinstance(last, datetime)
    assert last < BEGIN + timedelta(days=DAYS["test"])


def test_a_folder_of_an_earlier_search_is_replaced(tiny: Path) -> None:
    data = lay_out(tiny, tiny / "tuning" / "again", events=True)
    first = sha256(data / "events")
    (data / "features" / "left").mkdir()
    assert sha256(lay_out(tiny, data, events=True) / "events") == first
    assert not (data / "features" / "left").exists()
    assert (tiny / "features" / "train" / "recommend" / "part_0.parquet").is_file()


@pytest.mark.slow
def test_the_two_tower_is_judged_by_ndcg_at_the_epoch_that_training_keeps(tiny: Path, tmp_path: Path) -> None:
    reported: list[float] = []
    subject = subject_of(tiny, "two_tower")
    value = subject.attempt(subject.current, tmp_path / "trial", lambda epoch, figure: reported.append(figure))
    history = json.loads((tmp_path / "trial" / "history.json").read_text())
    best = history["epochs"][history["best_epoch"]]
    assert (len(reported), subject.metric, subject.direction) == (2, "NDCG@10", "maximize")
    assert value == reported[history["best_epoch"]] == best["ndcg_10"]
    assert best["score"] == max(epoch["score"] for epoch in history["epochs"])
    assert 0.0 < value < 1.0
    assert {path.name for path in (tmp_path / "trial").iterdir()} == {"history.json"}
    assert not (tiny / "models").exists()
    copy = subject_of(without_test(tiny, tmp_path / "copy"), "two_tower")
    assert copy.attempt(subject.current, tmp_path / "other", lambda epoch, figure: None) == value


@pytest.mark.slow
def test_the_ranking_model_is_never_worse_than_where_training_starts(tiny: Path, tmp_path: Path) -> None:
    from models.families.dlrm.train import fit_dlrm

    reported: list[float] = []
    subject = subject_of(without_test(tiny, tmp_path / "copy"), "ranking")
    values = {**subject.current, "learning_rate": 0.5}  # so large that epochs only spoil
    value = subject.attempt(values, tmp_path / "trial", lambda epoch, figure: reported.append(figure))
    fitted = fit_dlrm(RunLayout(tiny), tmp_path / "own", "ranking", DLRM.model_copy(update={"learning_rate": 0.5}), 3)
    assert (subject.metric, subject.direction) == ("log loss", "minimize")
    assert reported == [epoch["log_loss"] for epoch in fitted.history.epochs]
    assert value == min(-fitted.start_score, *reported) == -fitted.start_score


def test_a_loss_that_is_no_number_ends_the_attempt(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.families.dlrm import train as train_dlrm

    real = train_dlrm.fit

    def fit(learner: Any, *rest: Any) -> Any:
        learner.steps = lambda rows, rng: np.full(len(rows), np.nan, np.float32)
        return real(learner, *rest)

    monkeypatch.setattr(train_dlrm, "fit", fit)
    subject = subject_of(tiny, "ranking")
    with pytest.raises(DivergedError, match="the loss became nan in epoch 1"):
        subject.attempt(subject.current, tmp_path / "trial", lambda epoch, figure: None)
    assert not list((tmp_path / "trial").iterdir())


def test_a_figure_that_is_no_number_ends_the_attempt() -> None:
    learner = SimpleNamespace(title="toy", examples=1, variables=[], optimizer=None, validate=lambda: {"score": 1.0})
    reported: list[float] = []
    watched = _Watched(learner, "ndcg_10", lambda *_: math.nan, lambda epoch, figure: reported.append(figure))
    with pytest.raises(DivergedError, match="ndcg_10 became nan in epoch 1"):
        watched.validate()
    assert not reported


def test_a_baseline_is_judged_as_the_evaluation_would_on_validation(tiny: Path, tmp_path: Path) -> None:
    from models.families.registry import make_baseline
    from models.metrics.ranking import ndcg
    from models.questions.anchors import judge, read_anchors
    from models.questions.run_log import read_interactions, read_questions
    from models.retrieval.run_scorer import RunScorer

    subject = subject_of(tiny, "item_knn")
    value = subject.attempt({"neighbours": 2}, tmp_path / "trial", lambda epoch, figure: None)
    log = read_interactions(tiny)
    made = make_baseline("item_knn", 3, {"neighbours": 2})
    scorer = RunScorer(made, tiny, "valid", log, read_questions(tiny, "valid", log))
    judged = judge(scorer, read_anchors(tiny, "valid"), 10, "test")
    assert value == pytest.approx(float(np.mean(ndcg(judged.placement, 10))), rel=1e-12)
    assert value != subject.attempt({"neighbours": 100}, tmp_path / "trial", lambda epoch, figure: None)


def test_other_data_seeds_and_fixed_settings_have_other_fingerprints(tiny: Path, tmp_path: Path) -> None:
    data = tiny / "tuning" / "data"
    lay_out(tiny, data, events=True)
    first = dlrm_subject(data, "ranking", DLRM, 3).fingerprint
    assert dlrm_subject(data, "ranking", DLRM, 3).fingerprint == first
    assert (
        dlrm_subject(data, "ranking", DLRM.model_copy(update={"learning_rate": 0.002}), 3).fingerprint == first
    )  # it is searched
    assert dlrm_subject(data, "ranking", DLRM.model_copy(update={"epochs": 3}), 3).fingerprint != first
    assert dlrm_subject(data, "ranking", DLRM, 4).fingerprint != first
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    changed = next((copy / "features" / "valid" / "ranking").glob("*.parquet"))
    pl.read_parquet(changed).head(9).write_parquet(changed)
    assert dlrm_subject(copy, "ranking", DLRM, 3).fingerprint != first


def test_a_log_without_carts_has_no_cart_model_to_tune(tiny: Path) -> None:
    with pytest.raises(DataError, match="train split has no rows for the cart model"):
        dlrm_subject(lay_out(tiny, tiny / "tuning" / "data", events=False), "cart", DLRM, 3)


def test_a_validation_split_with_nothing_to_find_is_told(tiny: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny, tmp_path / "run", ignore=shutil.ignore_patterns("tuning")))
    path = run / "examples" / "valid" / "recommend.parquet"
    pl.read_parquet(path).with_columns(target_items=pl.lit([], pl.List(pl.String))).write_parquet(path)
    with pytest.raises(DataError, match="no shopper who turns to a new item"):
        subject_of(run, "als")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"factor": 3}, "als.factor is not a known key.*factors"),
        ({"factors": 0}, "factors is 0"),
        ({"factors": 8.5}, "als.factors is 8.5, where a whole number"),
        ({"l2": "much"}, "is not accepted"),
    ],
)
def test_parameters_that_a_baseline_does_not_take_are_told(parameters: dict[str, Any], words: str) -> None:
    from models.families.registry import make_baseline

    with pytest.raises(ConfigError, match=words):
        make_baseline("als", 1, parameters)
