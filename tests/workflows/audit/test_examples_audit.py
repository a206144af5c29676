"""The audit passes clean examples and catches every planted leak."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from cartwheel.core.errors import LeakageError
from workflows.audit.examples import audit_examples
from workflows.audit.targets import roc_auc
from workflows.events.asof import AsOf, Bools, Ints
from workflows.features import item as item_state
from workflows.features import shopper as history
from workflows.features.shopper import ShopperFeatures
from workflows.prepare import examples
from workflows.prepare.examples import build_examples
from workflows.settings import LEAVE_OUT, LeaveOut, PrepareSettings
from workflows.tasks import recommend as recommend_examples
from workflows.tasks.cart import CartLog
from workflows.tasks.leave_out import LeftOut
from workflows.tasks.recommend import Anchors
from workflows.tasks.split import SPLITS, Split, SplitName

Tables = dict[tuple[SplitName, str], pl.DataFrame]
_MORE = {"valid": ("refit",), "test": ("recommend_requests",)}


@pytest.fixture(scope="module")
def tables(shop_run: Path) -> Tables:
    return {
        (name, task): pl.read_parquet(shop_run / "examples" / name / f"{task}.parquet")
        for name in SPLITS
        for task in ("recommend", "ranking", "cart", "cart_requests", *_MORE.get(name, ()))
    }


@pytest.fixture(scope="module")
def split(shop_run: Path, shop_events: pl.DataFrame) -> Split:
    report = json.loads((shop_run / "examples" / "report.json").read_text())
    at = [
        pl.Series([report[name]]).str.to_datetime(time_unit="us", time_zone="UTC").dt.epoch("us")[0]
        for name in ("t_valid", "t_test")
    ]
    return Split(at[0], at[1], int(shop_events["timestamp"].dt.epoch("us").max()) + 1)  # type: ignore[arg-type]


def test_clean_examples_pass(tables: Tables, split: Split, shop_events: pl.DataFrame, shop_settings: PrepareSettings) -> None:
    looked_at = audit_examples(tables, shop_events, split, shop_settings, seed=0).counts
    assert looked_at["rows_recomputed"] >= 180
    assert looked_at["rows_in_time_order"] == looked_at["rows_without_duplicates"] == sum(len(t) for t in tables.values())
    assert looked_at["rows_against_single_features"] > 200


def _later(self: AsOf, group: Ints, time: Ints) -> tuple[Ints, Ints]:
    return _honest_bounds(self, group, time + 1)


_honest_bounds = AsOf.bounds


class _AtOrBefore(AsOf):
    """Takes the events at the instant for history: the classical off-by-one."""

    bounds = _later


def _prepare(run: Path, events: pl.DataFrame, settings: PrepareSettings, leave_out: LeaveOut = LEAVE_OUT) -> None:
    (run / "events").mkdir()
    events.write_parquet(run / "events" / "events.parquet")
    build_examples(run / "events" / "events.parquet", run, settings, 3, leave_out)


def test_a_history_that_includes_the_anchor_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    monkeypatch.setattr(history, "AsOf", _AtOrBefore)
    with pytest.raises(LeakageError, match=r"recommend\.parquet, column user_\w+: .* the events that it may look at give"):
        _prepare(tmp_path, shop_events, shop_settings, "nothing")
    assert not (tmp_path / "examples").exists()
    assert not (tmp_path / "snapshot").exists()


def test_statistics_that_count_the_future_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    ahead = lambda anchor, minutes: item_state.state_instant(anchor, minutes) + minutes * 60_000_000  # noqa: E731
    monkeypatch.setattr(recommend_examples, "state_instant", ahead)
    with pytest.raises(LeakageError, match=r"recommend\.parquet, column item_"):
        _prepare(tmp_path, shop_events, shop_settings)


def test_truth_beyond_the_split_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    honest = recommend_examples.examples_to_judge

    def careless(
        history: ShopperFeatures, anchors: Anchors, split: Split, name: SplitName, settings: PrepareSettings, left_out: LeftOut
    ) -> object:
        return honest(history, anchors, replace(split, t_test=split.end), name, settings, left_out)

    monkeypatch.setattr(examples, "examples_to_judge", careless)
    settings = shop_settings.model_copy(update={"horizon_days": 9.0})
    with pytest.raises(LeakageError, match=r"valid/recommend\.parquet, column target_items"):
        _prepare(tmp_path, shop_events, settings)


def test_a_negative_that_was_refunded_as_the_target_was_viewed_is_no_leak(
    tmp_path: Path, event_maker: Callable[[list[dict[str, object]]], pl.DataFrame]
) -> None:
    rows: list[dict[str, object]] = [
        {"user_id": f"u{number}", "item_id": item, "event_type": kind, "time": (number + 1) * 7_200_000_000}
        for number in range(30)
        for item, kind in (("wanted", "view"), ("returned", "refund"))
    ]
    _prepare(tmp_path, event_maker(rows), PrepareSettings(state_minutes=60))
    ranking = pl.read_parquet(tmp_path / "examples" / "test" / "ranking.parquet")
    assert dict(ranking.select("item_id", "label").unique().iter_rows()) == {"wanted": 1, "returned": 0}


def test_cart_labels_from_the_past_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    honest = CartLog.carts

    def flipped(self: CartLog, key: Ints, anchor: Ints) -> object:
        found = honest(self, key, anchor)
        found.bought[:] = ~found.bought
        return found

    monkeypatch.setattr(CartLog, "carts", flipped)
    with pytest.raises(LeakageError, match=r"cart\.parquet, column label"):
        _prepare(tmp_path, shop_events, shop_settings)


@pytest.mark.parametrize(
    ("task", "column", "value"),
    [
        ("recommend", "recent_items", pl.concat_list("item_id", "recent_items")),
        ("recommend", "left_out", pl.col("left_out").list.slice(1)),
        ("recommend", "left_out", pl.concat_list("left_out", pl.lit("never seen"))),
        ("recommend", "user_mean_price", pl.col("user_mean_price").fill_null(0) + 1),
        ("recommend_requests", "user_id", pl.col("user_key")),
        ("recommend_requests", "user_views", pl.col("user_views") + 1),
        ("recommend_requests", "recent_items", pl.concat_list("item_id", "recent_items")),
        ("recommend_requests", "left_out", pl.concat_list("left_out", pl.lit("never seen"))),
        ("recommend_requests", "target_items", pl.col("target_items").list.slice(1)),
        ("ranking", "item_events", pl.col("item_events") + 1),
        ("ranking", "price_gap", pl.lit(0, pl.Float32)),
        ("cart", "item_recent_events", pl.col("item_recent_events") + 1),
        ("cart", "session_minutes", pl.col("session_minutes") + 1),
        ("cart_requests", "user_id", pl.col("user_key")),
        ("cart_requests", "user_events", pl.col("user_events") + 1),
        ("cart_requests", "session_events", pl.col("session_events") - 1),
        ("cart_requests", "user_mean_price", pl.col("user_mean_price").fill_null(0) + 1),
    ],
)
def test_a_tampered_column_is_named(
    tables: Tables,
    split: Split,
    shop_events: pl.DataFrame,
    shop_settings: PrepareSettings,
    task: str,
    column: str,
    value: pl.Expr,
) -> None:
    planted = tables | {("test", task): tables["test", task].with_columns(value.alias(column))}
    with pytest.raises(LeakageError, match=rf"test/{task}\.parquet, column {column}"):
        audit_examples(planted, shop_events, split, shop_settings, seed=0)


@pytest.mark.parametrize("copy", [pl.col("label").cast(pl.Float32), pl.col("label") == 0, -pl.col("label").cast(pl.Int32)])
@pytest.mark.parametrize("task", ["ranking", "cart", "cart_requests"])
def test_a_copy_of_the_label_is_caught(
    tables: Tables, split: Split, shop_events: pl.DataFrame, shop_settings: PrepareSettings, task: str, copy: pl.Expr
) -> None:
    name: SplitName = (
        "test" if task == "cart_requests" else "train"
    )  # of the training carts a share alone is asked for in requests
    planted = tables | {(name, task): tables[name, task].with_columns(copy.alias("clue"))}
    with pytest.raises(
        LeakageError, match=rf"{name}/{task}\.parquet, column clue: (it is the label under another name|alone it tells the label)"
    ):
        audit_examples(planted, shop_events, split, shop_settings, seed=0)


def test_an_example_of_a_later_split_is_caught(
    tables: Tables, split: Split, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    planted = tables | {("train", "recommend"): pl.concat([tables["train", "recommend"], tables["test", "recommend"]])}
    with pytest.raises(LeakageError, match=r"train/recommend\.parquet: \d+ anchors lie outside the split"):
        audit_examples(planted, shop_events, split, shop_settings, seed=0)


def test_a_cart_window_that_crosses_the_split_is_caught(
    tables: Tables, split: Split, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    longer = shop_settings.model_copy(update={"cart_window_hours": 200.0})
    with pytest.raises(LeakageError, match=r"train/cart\.parquet, row \d+: a label window ends at"):
        audit_examples(tables, shop_events, split, longer, seed=0)


@pytest.mark.parametrize("task", ["recommend", "ranking", "cart", "cart_requests"])
def test_a_row_in_two_places_is_caught(
    tables: Tables, split: Split, shop_events: pl.DataFrame, shop_settings: PrepareSettings, task: str
) -> None:
    planted = tables | {("valid", task): pl.concat([tables["valid", task], tables["valid", task][:1]])}
    with pytest.raises(LeakageError, match=rf"examples/\*/{task}\.parquet: .* is there more than once"):
        audit_examples(planted, shop_events, split, shop_settings, seed=0)


def test_swapped_instants_are_caught(
    tables: Tables, split: Split, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    with pytest.raises(LeakageError, match=r"t_valid .* is not before t_test"):
        audit_examples({}, shop_events, Split(split.t_test, split.t_valid, split.end), shop_settings, seed=0)


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    values, label = rng.integers(0, 5, 300).astype(float), rng.random(300) < 0.3
    assert roc_auc(pl.Series(values), label) == pytest.approx(roc_auc_score(label, values))
    assert roc_auc(pl.Series([None, 1.0, None]), np.array([False, True, False])) == 1.0
    assert roc_auc(pl.Series([1.0]), np.array([True])) == 0.5


@pytest.mark.parametrize("rule", ["recent", "purchased", "interacted", "nothing"])
def test_examples_pass_under_every_rule(
    tmp_path: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings, rule: LeaveOut
) -> None:
    _prepare(tmp_path, shop_events, shop_settings, rule)
    tables = {name: pl.read_parquet(tmp_path / "examples" / name / "recommend.parquet") for name in ("train", "test")}
    hidden = pl.read_parquet(tmp_path / "examples" / "test" / "recommend.parquet")["left_out"].list.len()
    assert (hidden.sum() > 0) == (rule != "nothing")
    assert (hidden.max() > shop_settings.recent_items) == (rule in ("purchased", "interacted"))  # type: ignore[operator]
    report = json.loads((tmp_path / "examples" / "report.json").read_text())
    looked_at = report["audit"]["rows_without_target_left_out"]
    assert (looked_at > sum(len(table) for table in tables.values())) == (rule != "nothing")
    assert json.loads((tmp_path / "snapshot" / "state.json").read_text())["leave_out"] == rule


def test_a_target_that_was_seen_long_ago_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    """In training examples too, where what is left out is not told."""
    honest = LeftOut.hides

    def forgetful(self: LeftOut, key: Ints, anchor: Ints, item: Ints, recent: Ints) -> Bools:
        rule, self.rule = self.rule, "recent"
        found = honest(self, key, anchor, item, recent)
        self.rule = rule
        return found

    monkeypatch.setattr(LeftOut, "hides", forgetful)
    monkeypatch.setattr(LeftOut, "pairs", lambda *_: (np.empty(0, dtype=np.int64),) * 2)
    with pytest.raises(LeakageError, match=r"(train|valid)/recommend\.parquet, column (target_items|left_out)"):
        _prepare(tmp_path, shop_events, shop_settings)
