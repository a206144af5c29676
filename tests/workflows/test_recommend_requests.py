"""Recommendations as requests would ask for them: which forms there are, what each knows, and what is left out for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from workflows.events.event_log import DAY_US, HOUR_US, code_events
from workflows.features.columns import FORMS
from workflows.features.item import ItemHistory
from workflows.features.shopper import ShopperFeatures
from workflows.settings import LeaveOut, PrepareSettings
from workflows.tasks.leave_out import LeftOut
from workflows.tasks.recommend import examples_to_learn, find_anchors
from workflows.tasks.recommend_requests import RECOMMEND_REQUESTS, recommend_requests

STRANGER, WITH_ITEMS, USER, USER_WITH_ITEMS = FORMS


@pytest.fixture(scope="module")
def table(shop_run: Path) -> pl.DataFrame:
    return pl.read_parquet(shop_run / "examples" / "test" / f"{RECOMMEND_REQUESTS}.parquet")


def test_every_test_example_is_asked_for_in_each_form_with_the_same_truth(table: pl.DataFrame, shop_run: Path) -> None:
    examples = pl.read_parquet(shop_run / "examples" / "test" / "recommend.parquet")
    same = ["example_id", "user_key", "anchor", "target_items", "item_id", "item_price", "item_events", "hour", "weekday"]
    assert table.filter(pl.col("form") == STRANGER).select(same).equals(examples.select(same))
    assert set(table["form"]) == set(FORMS)
    for form in FORMS:
        rows = table.filter(pl.col("form") == form)
        told = rows.select(same).join(examples, on="example_id", validate="1:1")
        assert told["target_items"].equals(told["target_items_right"])


def test_a_stranger_is_known_by_what_the_request_tells(table: pl.DataFrame) -> None:
    empty, told = (table.filter(pl.col("form") == form) for form in (STRANGER, WITH_ITEMS))
    assert set(empty["user_id"]) == set(told["user_id"]) == {""}
    for column in ("user_events", "user_views", "user_carts", "user_purchases", "session_events"):
        assert (empty[column] == 0).all()
    assert empty["recent_items"].list.len().max() == empty["left_out"].list.len().max() == 0
    assert (told["user_events"] == told["recent_items"].list.len()).all()
    assert told["recent_items"].list.len().min() > 0  # type: ignore[operator]
    assert told["left_out"].list.sort().equals(told["recent_items"].list.sort().alias("left_out"))


def test_a_user_is_known_as_the_last_refresh_did(table: pl.DataFrame, shop_run: Path) -> None:
    examples = pl.read_parquet(shop_run / "examples" / "test" / "recommend.parquet")
    users = table.filter(pl.col("form").is_in([USER, USER_WITH_ITEMS])).join(examples, on="example_id", suffix="_now")
    assert (users["user_id"] == users["user_key"]).all()
    assert (users["user_events"] <= users["user_events_now"]).all()
    assert (users["user_events"] < users["user_events_now"]).any()
    assert users["left_out"].list.set_difference(users["left_out_now"]).list.len().max() == 0


RULES: tuple[tuple[LeaveOut, dict[str, set[str]]], ...] = (
    ("nothing", {STRANGER: set(), WITH_ITEMS: set(), USER: set(), USER_WITH_ITEMS: set()}),
    ("purchased", {STRANGER: set(), WITH_ITEMS: set(), USER: {"w"}, USER_WITH_ITEMS: {"w"}}),
    ("interacted", {STRANGER: set(), WITH_ITEMS: {"y"}, USER: {"w", "x"}, USER_WITH_ITEMS: {"w", "x", "y"}}),
    ("recent", {STRANGER: set(), WITH_ITEMS: {"y"}, USER: {"w", "x"}, USER_WITH_ITEMS: {"x", "y"}}),
)


@pytest.mark.parametrize(("rule", "expected"), RULES)
def test_what_is_left_out_is_what_is_stored_and_told(
    rule: LeaveOut, expected: dict[str, set[str]], event_maker: Callable[..., pl.DataFrame]
) -> None:
    """Yesterday w was bought and then x looked at; today comes y, and then z is asked for, with two recent items at most."""
    midnight = 20_000 * DAY_US
    acts = [(-40, "purchase", "w"), (-30, "view", "x"), (0.1, "view", "y"), (0.2, "view", "z")]
    rows = [
        {"user_id": "u", "item_id": item, "event_type": kind, "time": midnight + round(hours * HOUR_US), "price": 10.0}
        for hours, kind, item in acts
    ]
    settings = PrepareSettings(recent_items=2)
    log = code_events(event_maker(rows), settings.interaction_types)
    history = ShopperFeatures(log, settings.session_gap_minutes, settings.recent_items)
    left_out = LeftOut(log, history, rule)
    anchors, _ = find_anchors(history, left_out)
    asked = anchors.take(np.flatnonzero(anchors.anchor == midnight + round(0.2 * HOUR_US)))
    items = ItemHistory(log, 7.0)
    table = recommend_requests(log, history, items, examples_to_learn(history, asked), settings, left_out)
    assert {form: set(items) for form, items in table.select("form", "left_out").iter_rows()} == expected
    assert dict(table.select("form", "recent_items").iter_rows()) == {
        STRANGER: [],
        WITH_ITEMS: ["y"],
        USER: ["w", "x"],
        USER_WITH_ITEMS: ["x", "y"],
    }


def test_no_examples_are_no_requests(event_maker: Callable[..., pl.DataFrame]) -> None:
    rows = [{"user_id": "u", "item_id": "x", "event_type": "view", "time": 20_000 * DAY_US}]
    settings = PrepareSettings()
    log = code_events(event_maker(rows), settings.interaction_types)
    history = ShopperFeatures(log, settings.session_gap_minutes, settings.recent_items)
    left_out = LeftOut(log, history, "interacted")
    none = examples_to_learn(history, find_anchors(history, left_out)[0].take(np.empty(0, np.int64)))
    assert len(recommend_requests(log, history, ItemHistory(log, 7.0), none, settings, left_out)) == 0
