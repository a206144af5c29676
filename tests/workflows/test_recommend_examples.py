"""Recommend examples: who is an anchor, what is true, and that nothing later shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from workflows.events.event_log import DAY_US, EventLog, code_events
from workflows.features import columns
from workflows.features.item import ItemHistory
from workflows.features.recompute import left_out_items, recommend_truth
from workflows.features.shopper import ShopperFeatures
from workflows.settings import LeaveOut, PrepareSettings
from workflows.tasks.leave_out import LeftOut
from workflows.tasks.recommend import choose_anchors, examples_to_judge, find_anchors, recommend_frame
from workflows.tasks.split import SPLITS, Split, split_by_time


def _prepared(events: pl.DataFrame, settings: PrepareSettings) -> tuple[EventLog, ShopperFeatures, Split]:
    log = code_events(events, settings.interaction_types)
    split = split_by_time(log.time, settings.valid_share, settings.test_share)
    return log, ShopperFeatures(log, settings.session_gap_minutes, settings.recent_items), split


def _of_key(events: pl.DataFrame, key: str) -> list[dict[str, object]]:
    name = pl.coalesce("user_id", pl.lit("session:") + pl.col("session_id"))
    return events.filter(name == key).with_columns(pl.col("timestamp").dt.epoch("us").alias("time")).to_dicts()


@pytest.mark.parametrize("rule", ["recent", "purchased", "interacted", "nothing"])
def test_anchors_truth_and_what_is_left_out_equal_brute_force(
    shop_events: pl.DataFrame, shop_settings: PrepareSettings, rule: LeaveOut
) -> None:
    settings = shop_settings.model_copy(update={"max_eval_anchors": 10_000})
    log, history, split = _prepared(shop_events, settings)
    rules = LeftOut(log, history, rule)
    anchors, repeats = find_anchors(history, rules)
    expected = set()
    for key in log.keys.to_list():
        own = _of_key(shop_events, key)
        for event in own:
            hidden = left_out_items(own, event["time"], settings, rule)  # type: ignore[arg-type]
            if event["event_type"] in settings.interaction_types and event["item_id"] not in hidden:
                expected.add((key, event["time"], event["item_id"]))
    found = list(zip(log.keys.gather(anchors.key), anchors.anchor.tolist(), log.items.gather(anchors.item), strict=True))
    assert set(found) == expected
    assert len(found) == len(expected)
    assert repeats == int(log.interaction.sum()) - len(found)
    for name in SPLITS[1:]:
        chosen = choose_anchors(anchors, split, name, settings, np.random.default_rng(0))
        made = examples_to_judge(history, chosen, split, name, settings, rules)
        told = recommend_frame(log, history, ItemHistory(log, 7), made, settings)
        stops = np.cumsum(made.truth_sizes)
        for row in range(0, len(chosen.key), 7):
            true = log.items.gather(made.truth[stops[row] - made.truth_sizes[row] : stops[row]]).to_list()
            own = _of_key(shop_events, log.keys[int(chosen.key[row])])
            assert true[0] == log.items[int(chosen.item[row])]
            assert len(set(true)) == len(true)
            assert set(true) == recommend_truth(own, int(chosen.anchor[row]), split.end_of(name), settings, rule)
            assert told["target_items"][row].to_list() == true
            hidden = left_out_items(own, int(chosen.anchor[row]), settings, rule)
            assert told["left_out"][row].to_list() == sorted(hidden)


def test_an_example_names_its_event_and_carries_every_column(shop_run: Path, shop_events: pl.DataFrame) -> None:
    for name in SPLITS:
        table = pl.read_parquet(shop_run / "examples" / name / "recommend.parquet")
        assert table.columns == ["example_id", "user_key", "anchor", *columns.QUERY, "target_items", *columns.ITEM, "left_out"]
        assert (table["left_out"].list.len() > 0).any() == (name != "train")
        event = shop_events[table["example_id"]]
        assert event["timestamp"].equals(table["anchor"], check_names=False)
        assert event["item_id"].equals(table["target_items"].list.first(), check_names=False)
        assert event["item_id"].equals(table["item_id"], check_names=False)
        assert event["user_id"].fill_null("").equals(table["user_id"], check_names=False)
        for column in ("user_id", "item_id", "item_category", "item_brand", *columns.QUERY_LISTS):
            assert table[column].null_count() == 0
        assert (table["recent_items"].list.len() == table["recent_brands"].list.len()).all()
        floats = (*columns.QUERY_CONTINUOUS, *columns.ITEM_CONTINUOUS)
        assert all(table.schema[column] == pl.Float32 and not table[column].is_nan().any() for column in floats)


def test_training_keeps_the_latest_and_evaluation_a_seeded_sample(
    shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    settings = shop_settings.model_copy(update={"max_train_examples": 50, "max_eval_anchors": 20})
    log, history, split = _prepared(shop_events, settings)
    anchors, _ = find_anchors(history, LeftOut(log, history, "recent"))
    train = choose_anchors(anchors, split, "train", settings, np.random.default_rng(0))
    assert train.anchor.tolist() == sorted(anchors.anchor[anchors.anchor < split.t_valid].tolist())[-50:]
    samples = [
        choose_anchors(anchors, split, "test", settings, np.random.default_rng(seed)).example.tolist() for seed in (1, 1, 2)
    ]
    assert samples[0] == samples[1] != samples[2]
    assert len(samples[0]) == 20


def test_simultaneous_interactions_are_one_question_in_evaluation(event_maker: Callable[..., pl.DataFrame]) -> None:
    rows = [{"user_id": "a", "item_id": i, "event_type": "purchase", "time": t * DAY_US} for t, i in enumerate("abcdefgh")]
    rows += [{"user_id": "b", "item_id": i, "event_type": "purchase", "time": 9 * DAY_US} for i in ("y", "x", "y")]
    rows += [
        {"user_id": "c", "item_id": "z", "event_type": "purchase", "time": 9 * DAY_US}
    ]  # another's question of the same instant
    settings = PrepareSettings(test_share=0.3, valid_share=0.3)
    events = event_maker(rows)
    log, history, split = _prepared(events, settings)
    rules = LeftOut(log, history, "recent")
    anchors, repeats = find_anchors(history, rules)
    assert repeats == 1
    chosen = choose_anchors(anchors, split, "test", settings, np.random.default_rng(0))
    made = examples_to_judge(history, chosen, split, "test", settings, rules)
    asked = recommend_frame(log, history, ItemHistory(log, 7), made, settings)
    assert asked.filter(pl.col("user_key") == "c")["target_items"].to_list() == [["z"]]
    table = asked.filter(pl.col("user_key") == "b")
    assert table["target_items"].to_list() == [["y", "x"]]
    assert table["recent_items"].to_list() == [[]]
