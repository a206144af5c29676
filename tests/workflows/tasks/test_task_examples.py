"""The examples of declared tasks: split in time, audited, stored, and refused where nothing can be learnt."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import CartwheelError, ConfigError, DataError, LeakageError
from cartwheel.core.run_layout import RunLayout
from cartwheel.testing.logs import random_log
from workflows.events.event_log import DAY_US, EventLog, code_events
from workflows.events.sessions import with_sessions
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import FeatureFamily, Moments, Past
from workflows.prepare.tasks import TaskExamples, TaskLog, build_task, build_tasks, examples_of
from workflows.settings import PrepareSettings
from workflows.tasks.anchor_rules import AfterEvents, EveryDays
from workflows.tasks.future_events import FutureEvents
from workflows.tasks.past_windows import squared_changes
from workflows.tasks.settings import TaskSettings, declared
from workflows.tasks.task import Entity, Labels, Task

PREPARE = PrepareSettings(valid_share=0.2, test_share=0.2)
EVENTS = random_log(7, events=1500, days=90.0)


def make(name: str = "mine", **settings: Any) -> Task:
    return declared(name, TaskSettings.model_validate(settings), PREPARE)


CHURN = {"use": "churn", "every_days": 2, "active_within_days": 20, "predict": {"within_days": 3}}


@pytest.fixture(scope="module")
def shop() -> TaskLog:
    return shop_of(EVENTS)


def shop_of(events: pl.DataFrame) -> TaskLog:
    frame = with_sessions(events, PREPARE.session_gap_minutes)
    return TaskLog(frame, code_events(frame, PREPARE.interaction_types))


def build(shop: TaskLog, *families: FeatureFamily, **settings: Any) -> TaskExamples:
    return examples_of(make(**settings), shop, PREPARE, 1, families)


@pytest.mark.parametrize(
    "settings",
    [
        CHURN,
        {"use": "purchase_intent", "after_events": [1, 2]},
        {"use": "demand", "every_days": 2, "predict": {"within_days": 2}},
        {"use": "churn", "every_days": 2, "predict": {"within_days": 1, "windows": 3}, "active_within_days": 9},
    ],
)
def test_no_label_reaches_over_a_border_and_equal_input_gives_equal_bytes(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    EVENTS.write_parquet(RunLayout(tmp_path).events)
    made = build_task(tmp_path, make(**settings), PREPARE, 1)
    layout = RunLayout(tmp_path).task("mine")
    spec = json.loads(layout.spec.read_text())
    borders = [pl.Series([spec["split"][key]]).str.to_datetime(time_zone="UTC")[0] for key in ("t_valid", "t_test", "end")]
    horizon = pl.duration(days=spec["horizon_days"])
    names = [column["name"] for column in spec["columns"]]
    for split, start, end in zip(("train", "valid", "test"), (None, *borders[:2]), borders, strict=True):
        table = pl.read_parquet(layout.examples(split))
        keys = [name for name in ("_ahead", "_scale") if name in table.columns]
        assert table.columns == ["entity", "anchor", "label", *keys, *names]
        assert [Column.from_json(column).raw_type for column in spec["columns"]] == table.dtypes[3 + len(keys) :]
        assert table.select((pl.col("anchor") + horizon <= end).all()).item()
        assert start is None or table.select((pl.col("anchor") >= start).all()).item()
        assert spec["rows"][split] == len(table)
        assert spec["base_rate"][split] == pytest.approx(table["label"].mean())
    if spec["entity"] == "session":
        assert not layout.stored.exists()
        assert spec["dropped"]["test"].keys() <= {"censored"}
    else:
        stored = pl.read_parquet(layout.stored)
        assert stored.columns == ["entity", *names]
        ids = EVENTS["user_id" if spec["entity"] == "user" else "item_id"].drop_nulls().unique().sort()
        assert stored["entity"].sort().to_list() == ids.to_list()
    before = {path.name: path.read_bytes() for path in layout.folder.rglob("*.*")}
    build_tasks(tmp_path, [make(**settings)], PREPARE, 1)
    assert {path.name: path.read_bytes() for path in layout.folder.rglob("*.*")} == before
    assert made.spec["audit"]["values_recomputed"] > 1000


def test_windows_too_long_for_the_split_of_prepare_get_one_of_their_own_and_say_so(shop: TaskLog) -> None:
    made = build(shop, **{**CHURN, "predict": {"event": "rating", "within_days": 22}}, active_events=["view"])
    assert "do not fit into the split of [prepare]" in made.spec["warnings"][0]
    assert "do not fit" not in "".join(build(shop, **CHURN).spec["warnings"])


def test_each_window_ahead_is_asked_about_and_told_apart(shop: TaskLog) -> None:
    made = build(shop, use="demand", every_days=3, predict={"within_days": 1, "windows": 3}, features=["past_windows"])
    table = made.tables["test"].sort("entity", "anchor", "_ahead")
    assert table["windows_ahead"].to_list() == [1.0, 2.0, 3.0] * (len(table) // 3)
    units = EVENTS.filter(pl.col("event_type") == "purchase").select(
        pl.col("item_id").alias("entity"), pl.col("timestamp").alias("time"), pl.col("quantity").fill_nan(None).fill_null(1.0)
    )
    begin = pl.col("anchor") + pl.duration(days=pl.col("_ahead"))
    joined = table.select("entity", begin.alias("begin"), "label").join(units, on="entity", how="left")
    within = (pl.col("time") >= pl.col("begin")) & (pl.col("time") < pl.col("begin") + pl.duration(days=1))
    sold = joined.group_by("entity", "begin", maintain_order=True).agg(
        pl.col("quantity").filter(within).sum(), pl.col("label").first()
    )
    assert sold["quantity"].to_list() == pytest.approx(sold["label"].to_list())
    assert sold["label"].sum() > 0


def test_the_scale_is_the_mean_squared_change_from_window_to_window(shop: TaskLog) -> None:
    label = FutureEvents(Entity.ITEM, ("purchase",), "sum", 2.0, "quantity")
    log = shop.log
    before = int(log.time.min()) + 61 * DAY_US
    found = squared_changes(label, log, before)
    assert len(found) == len(log.items)
    for item in range(len(log.items)):
        at = np.arange(1, 32)[::-1]
        series = label.of(log, Moments(np.full(31, item), before - at * label.window_us)).value
        there = np.flatnonzero(series)
        changes = np.diff(series[there[0] :]) if len(there) else np.zeros(0)
        assert found[item] == pytest.approx(np.mean(changes**2)) if len(changes) else np.isnan(found[item])
    assert np.isfinite(found).any()


def test_test_at_asks_at_one_instant(shop: TaskLog) -> None:
    made = build(shop, **{**CHURN, "predict": {"event": "refund", "within_days": 6}}, test_at="2024-01-20T12:00:00Z")
    assert made.tables["test"]["anchor"].unique().dt.to_string("iso").to_list() == ["2024-01-20 12:00:00.000000+00:00"]
    assert made.tables["valid"]["anchor"].n_unique() >= 1
    assert made.spec["split"]["words"].startswith("by time: test is asked at 2024-01-20T12:00:00+00:00 alone")


def test_columns_with_one_value_in_training_are_left_out_and_named(shop: TaskLog) -> None:
    made = build(shop, **{**CHURN, "every_days": 7, "features": ["user_activity", "calendar"]})
    assert {"hour", "weekday"} <= set(made.spec["constant"])
    assert "hour" not in made.tables["test"].columns


def test_more_examples_than_the_most_are_sampled_and_counted(shop: TaskLog) -> None:
    made = build(shop, **CHURN, max_examples=50)
    assert made.spec["rows"]["train"] == 50
    assert made.spec["dropped"]["train"]["beyond_max_examples"] == build(shop, **CHURN).spec["rows"]["train"] - 50


class Mood(FeatureFamily):
    """Share of good moods before the anchor; ``late`` looks at what comes after it, ``label`` at the purchase itself."""

    name = "mood"
    owner = Owner.SHOPPER

    def __init__(self, shift_us: int = 0, *, both: bool = False, owner: Owner = Owner.SHOPPER) -> None:
        self.shift_us, self.both = shift_us, both
        self.owner = owner  # type: ignore[misc]
        self.columns = (Column("good_moods", owner, Kind.COUNT, "good moods"),)

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        good = (log.own["mood"] == "good").to_numpy()
        found = [
            int((good & (log.key == who) & (log.time < when + self.shift_us)).sum())
            for who, when in zip(at.entity, at.anchor, strict=True)
        ]
        return pl.DataFrame({"good_moods": pl.Series(found, dtype=pl.Float32)})

    def recompute(self, past: Past) -> dict[str, Any]:
        return {"good_moods": sum(event.own["mood"] == "good" for event in past.events)}


def test_an_own_family_is_seen_beside_the_others(shop: TaskLog) -> None:
    made = build(shop, Mood(), **CHURN, max_examples=200)
    assert made.tables["train"]["good_moods"].max() > 1
    assert made.stored is not None
    assert made.stored["good_moods"].sum() == int((EVENTS.filter(pl.col("user_id").is_not_null())["mood"] == "good").sum())
    assert "good_moods" not in build(shop, Mood(owner=Owner.ITEM), **CHURN, max_examples=50).tables["train"].columns


@pytest.mark.parametrize("shift", [1, DAY_US * 30])
def test_a_family_that_looks_at_or_after_the_anchor_fails_the_run(shop: TaskLog, shift: int) -> None:
    settings = {"use": "purchase_intent"} if shift == 1 else CHURN
    task = make(**settings)
    if shift == 1:  # an event at the anchor itself: ask at the instants of events

        class AtEvents(AfterEvents):
            def moments(self, log: EventLog, start: int, stop: int) -> Moments:
                at = super().moments(log, start, stop)
                return Moments(at.entity, at.anchor - 1)

        task = replace(task, anchors=AtEvents((2, 3)))
    with pytest.raises(LeakageError, match=r"examples/train.parquet, column good_moods: .* the events before then give"):
        examples_of(task, shop, PREPARE, 1, [Mood(shift)])


def test_a_family_that_is_the_label_fails_the_run(shop: TaskLog) -> None:
    class Label(Mood):
        def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
            label = make(**CHURN).label
            assert label is not None
            return pl.DataFrame({"good_moods": pl.Series(label.of(log, at).value, dtype=pl.Float32)})

        def recompute(self, past: Past) -> dict[str, Any]:
            log = shop.log
            entity = np.flatnonzero((log.users == past.entity).to_numpy())
            return self.compute(log, Moments(entity, np.array([past.anchor]))).to_dicts()[0]

    with pytest.raises(LeakageError, match=r"the feature 'good_moods': Its values stand for those of the label"):
        build(shop, Label(), **CHURN)


def other_family(**faults: Any) -> FeatureFamily:
    class Other(Mood):
        def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
            if "raises" in faults:
                raise ValueError("no mood today")
            return faults["frame"](super().compute(log, at))

        def recompute(self, past: Past) -> dict[str, Any]:
            if "recompute" in faults:
                raise KeyError("mood")
            return super().recompute(past)

    return Other()


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (other_family(raises=True), r"feature family 'mood' raised ValueError: no mood today \(test_task_examples.py"),
        (other_family(recompute=True, frame=lambda frame: frame), r"feature family 'mood' raised KeyError: 'mood'"),
        (other_family(frame=lambda frame: frame.rename({"good_moods": "moods"})), r"good_moods \(not there for Float32\)"),
        (other_family(frame=lambda frame: frame.cast(pl.Int64)), r"good_moods \(Int64 for Float32\)"),
        (other_family(frame=lambda frame: frame.head(1)), "gave 1 rows of good_moods"),
        (other_family(frame=lambda frame: None), "NoneType"),
    ],
)
def test_a_hook_that_raises_or_breaks_its_promise_is_refused(shop: TaskLog, family: FeatureFamily, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(shop, family, **CHURN, max_examples=60)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        (
            {"predict": {"event": "purchse"}},
            ConfigError,
            r"\[tasks.mine\]: The log has no event of type 'purchse'. Did you mean 'purchase'",
        ),
        ({"predict": {"as": "sum", "column": "margn"}}, ConfigError, r"no column 'margn' to predict. Did you mean 'margin'"),
        (
            {"predict": {"as": "sum", "column": "mood"}},
            ConfigError,
            r"The column 'mood' holds String, where numbers are expected",
        ),
        (
            {"predict": {"within_days": 60}},
            DataError,
            r"windows of 60 days end beyond the log: .* it covers 89.4 days.* to 28 or less",
        ),
        (
            {"test_at": "2024-02-11"},
            DataError,
            r"windows of 3 days that begin at 2024-02-11T00:00:00\+00:00, where test does, end beyond the log",
        ),
        ({"test_at": "2030-01-01"}, DataError, "end beyond the log"),
        ({"test_at": "2023-11-16"}, DataError, "no windows of 3 days lie between the first event"),
        ({"valid_from": "2024-01-10", "test_from": "2024-01-11"}, DataError, "where validation does, reach over 2024-01-11"),
        ({"active_events": ["wishlist"]}, DataError, "the train split has no example: nobody is asked about from"),
        ({"features": ["item_activity"]}, ConfigError, r"'item_activity' belongs to the item, and the task asks about each user"),
        ({"features": ["user_activty"]}, ConfigError, "Did you mean 'user_activity'"),
        ({"features": []}, ConfigError, "it has no features"),
        ({"features": ["user_activity", "user_activity"]}, ConfigError, "two features are called 'user_days_since_event'"),
    ],
)
def test_a_task_that_the_log_cannot_answer_is_refused_in_a_sentence(
    shop: TaskLog, settings: dict[str, Any], error: type[CartwheelError], said: str
) -> None:
    whole = {**CHURN, **settings, "predict": {**CHURN["predict"], **settings.get("predict", {})}}  # type: ignore[dict-item]
    with pytest.raises(error, match=said):
        build(shop, **whole)


@pytest.mark.parametrize(("valid", "test"), [("2024-01-10", "2030-01-01"), ("2020-01-01", "2024-01-10")])
def test_a_split_of_sessions_outside_of_the_log_is_refused(shop: TaskLog, valid: str, test: str) -> None:
    with pytest.raises(
        DataError, match=r"but the log's events lie from 2023-11-\d\d.* Set valid_from and test_from within the log"
    ):
        build(shop, use="purchase_intent", valid_from=valid, test_from=test)


class Raising(FutureEvents):
    def of(self, log: EventLog, at: Moments) -> Labels:
        raise ValueError("no truth today")


def test_a_label_of_the_shop_that_raises_is_refused_in_a_sentence(shop: TaskLog) -> None:
    task = replace(make(**CHURN), label=Raising(Entity.USER, ("purchase",), "any", 3.0))
    with pytest.raises(ConfigError, match=r"\[tasks.mine\] raised ValueError: no truth today \(test_task_examples.py"):
        examples_of(task, shop, PREPARE, 1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda found: found.value, "its label gave ndarray"),
        (lambda found: Labels(found.value[1:], found.known_at[1:]), "its label gave Labels for"),
        (lambda found: Labels(found.value * 2, found.known_at), "its label is 2, where 0 or 1 is expected"),
    ],
)
def test_a_label_of_the_shop_that_is_none_is_refused(shop: TaskLog, value: Callable[[Labels], Any], said: str) -> None:
    class Odd(FutureEvents):
        def of(self, log: EventLog, at: Moments) -> Labels:
            return value(super().of(log, at))  # type: ignore[no-any-return]

    with pytest.raises(ConfigError, match=said):
        examples_of(replace(make(**CHURN), label=Odd(Entity.USER, ("purchase",), "any", 3.0)), shop, PREPARE, 1)


def test_anchors_of_the_shop_outside_of_their_split_fail_the_run(shop: TaskLog) -> None:
    class Late(EveryDays):
        def moments(self, log: EventLog, start: int, stop: int) -> Moments:
            at = super().moments(log, start, stop)
            return Moments(at.entity, at.anchor + DAY_US)

    class Odd(EveryDays):
        def moments(self, log: EventLog, start: int, stop: int) -> Moments:
            at = super().moments(log, start, stop)
            return Moments(at.entity[1:], at.anchor)

    with pytest.raises(LeakageError, match=r"\d+ anchors lie outside of the span .* the first at"):
        examples_of(replace(make(**CHURN), anchors=Late(Entity.USER, 7.0)), shop, PREPARE, 1)
    with pytest.raises(ConfigError, match="its anchors gave Moments, where Moments with an entity for each anchor"):
        examples_of(replace(make(**CHURN), anchors=Odd(Entity.USER, 7.0)), shop, PREPARE, 1)


def test_a_label_that_looks_before_the_anchor_fails_the_run(shop: TaskLog) -> None:
    class Early(FutureEvents):
        def of(self, log: EventLog, at: Moments) -> Labels:
            found = super().of(log, Moments(at.entity, at.anchor - DAY_US * 5))
            return Labels(found.value, found.known_at + DAY_US * 5)

    task = replace(make(**CHURN), label=Early(Entity.USER, ("purchase",), "any", 3.0))
    with pytest.raises(LeakageError, match=r"train.parquet, column label: .* but its events from then on give"):
        examples_of(task, shop, PREPARE, 1)


def test_a_label_that_is_always_true_or_false_in_a_split_is_refused() -> None:
    late = EVENTS.filter((pl.col("event_type") != "purchase") | (pl.int_range(pl.len()) < 1150))
    settings = {**CHURN, "active_events": ["view"]}
    with pytest.raises(DataError, match=r"the label of the \d+ test examples is always true, so nothing can be judged"):
        build(shop_of(late), **settings)
    with pytest.raises(DataError, match=r"test examples is always false"):
        build(shop_of(late), **{**settings, "predict": {"within_days": 3, "as": "any"}})
    with pytest.raises(DataError, match=r"test examples is always 0"):
        build(shop_of(late), **{**settings, "predict": {"within_days": 3, "as": "count"}})


def test_a_quantity_below_0_is_refused(shop: TaskLog) -> None:
    events = EVENTS.with_columns(margin=pl.col("margin") - 0.5)
    with pytest.raises(DataError, match="where a quantity is at least 0"):
        build(shop_of(events), **{**CHURN, "predict": {"within_days": 3, "as": "sum", "column": "margin"}})


def test_sessions_are_over_before_their_split_is(shop: TaskLog) -> None:
    made = build(shop, use="purchase_intent", after_events=[1])
    frame = shop.frame.with_columns(pl.col("timestamp").dt.epoch("us").alias("time"))
    ends = dict(frame.group_by("session_id").agg(pl.col("time").max()).iter_rows())
    borders = [pl.Series([made.spec["split"][key]]).str.to_datetime().dt.epoch("us")[0] for key in ("t_valid", "t_test", "end")]
    for split, border in zip(("train", "valid", "test"), borders, strict=True):
        assert all(ends[name] + 30 * 60_000_000 < border for name in made.tables[split]["entity"])  # type: ignore[index]
    assert any("truth_reaches_into_the_next_split" in made.spec["dropped"].get(split, {}) for split in ("train", "valid"))
    assert made.spec["dropped"]["test"]["censored"] >= 1
