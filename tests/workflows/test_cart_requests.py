"""Carts as requests would ask for them: which forms there are, what each knows, and that it is what brute force finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from workflows.audit.event_index import EventIndex
from workflows.audit.recompute import check_features
from workflows.events.event_log import DAY_US, HOUR_US, code_events
from workflows.features.columns import FORMS
from workflows.features.item import ItemHistory
from workflows.features.requests import request_kinds
from workflows.features.shopper import ShopperFeatures
from workflows.settings import PrepareSettings
from workflows.tasks.cart import CartLog
from workflows.tasks.cart_requests import CART_REQUESTS, cart_requests
from workflows.tasks.split import SPLITS, Split, SplitName

STRANGER, WITH_ITEMS, USER, USER_WITH_ITEMS = FORMS


@pytest.fixture(scope="module")
def tables(shop_run: Path) -> dict[SplitName, pl.DataFrame]:
    return {name: pl.read_parquet(shop_run / "examples" / name / f"{CART_REQUESTS}.parquet") for name in SPLITS}


def test_requests_equal_brute_force(
    tables: dict[SplitName, pl.DataFrame], shop_run: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    report = json.loads((shop_run / "examples" / "report.json").read_text())
    at = [
        pl.Series([report[f"t_{name}"]]).str.to_datetime(time_unit="us", time_zone="UTC").dt.epoch("us")[0] for name in SPLITS[1:]
    ]
    split = Split(at[0], at[1], int(shop_events["timestamp"].dt.epoch("us").max()) + 1)  # type: ignore[arg-type]
    log = EventIndex(shop_events, shop_settings)
    for name, table in tables.items():
        for form in FORMS:
            rows = table.filter(pl.col("form") == form)
            assert check_features({(name, CART_REQUESTS): rows}, log, split, shop_settings, seed=1, leave_out="recent") >= min(
                len(rows), 20
            )


def test_every_cart_of_validation_and_test_is_asked_for_in_each_form_that_it_can_have(
    tables: dict[SplitName, pl.DataFrame], shop_run: Path
) -> None:
    for name in ("valid", "test"):
        carts = pl.read_parquet(shop_run / "examples" / name / "cart.parquet")
        table = tables[name]
        by_form = {form: table.filter(pl.col("form") == form) for form in FORMS}
        same = ["user_key", "anchor", "item_id", "label", "cart_label", "cart_lines", "cart_value"]
        assert by_form[STRANGER].select(same).equals(carts.select(same))
        assert all(len(rows) for rows in by_form.values())
        assert table["user_id"].to_list() == [
            key if form in (USER, USER_WITH_ITEMS) else "" for key, form in table.select("user_key", "form").iter_rows()
        ]
        assert (by_form[STRANGER]["user_events"] == by_form[STRANGER]["user_carts"]).all()
        assert (by_form[STRANGER]["user_carts"] == by_form[STRANGER]["cart_lines"]).all()
        assert (by_form[WITH_ITEMS]["user_views"] > 0).all()
        assert (by_form[USER]["user_events"] > by_form[USER]["cart_lines"]).all()


def test_a_share_of_the_training_carts_is_asked_for_each_in_one_form(
    tables: dict[SplitName, pl.DataFrame], shop_run: Path, shop_settings: PrepareSettings
) -> None:
    carts = pl.read_parquet(shop_run / "examples" / "train" / "cart.parquet")["cart_id"].n_unique()
    asked = tables["train"].unique("cart_id")
    assert len(asked) == len(asked.unique(["user_key", "anchor"]))
    assert abs(len(asked) - shop_settings.request_share * carts) < 4 * np.sqrt(carts)
    assert set(asked["form"]) == set(FORMS)


def written(events: pl.DataFrame, settings: PrepareSettings, **chosen: Any) -> pl.DataFrame:
    log = code_events(events, settings.interaction_types)
    history, carts = (
        ShopperFeatures(log, settings.session_gap_minutes, settings.recent_items),
        CartLog(log, settings.cart_window_hours),
    )
    found = carts.carts(*carts.anchors())
    return cart_requests(log, history, ItemHistory(log, 7.0), found, settings, np.random.default_rng(0), **chosen)


def test_what_each_form_knows(event_maker: Callable[..., pl.DataFrame]) -> None:
    """Yesterday x; today, in one session over midnight, y, then z and w, and z into the cart beside a."""
    told = [
        (-30, "view", "x"),
        (-0.05, "view", "y"),
        (0.1, "view", "z"),
        (0.2, "view", "w"),
        (0.3, "cart", "a"),
        (0.4, "cart", "z"),
    ]
    rows = [
        {"user_id": "u", "item_id": item, "event_type": kind, "time": 20_000 * DAY_US + round(hours * HOUR_US), "price": 10.0}
        for hours, kind, item in told
    ]
    settings = PrepareSettings(recent_items=3)
    table = written(event_maker(rows), settings).filter((pl.col("item_id") == "z") & (pl.col("cart_lines") == 2))
    rows_of = dict(zip(table["form"], table.iter_rows(named=True), strict=True))
    columns = ("user_id", "user_events", "user_views", "user_carts", "session_events")
    assert {form: tuple(row[column] for column in columns) for form, row in rows_of.items()} == {
        STRANGER: ("", 2, 0, 2, 2),
        # Three recent items are kept of the session: z, a and w; then come the lines a and z.
        WITH_ITEMS: ("", 5, 3, 2, 5),
        # Stored is what was before midnight: x, and y of the running session.
        USER: ("u", 4, 2, 2, 3),
        USER_WITH_ITEMS: ("u", 7, 5, 2, 6),
    }
    minutes = {form: row["session_minutes"] for form, row in rows_of.items()}
    assert minutes[STRANGER] == minutes[WITH_ITEMS] == pytest.approx(1 / 6e7)
    assert minutes[USER] == minutes[USER_WITH_ITEMS] == pytest.approx(0.45 * 60, rel=1e-5)
    assert {row["user_recency_hours"] for row in rows_of.values()} == {np.float32(1 / 3.6e9)}
    # What the shop knew of items at midnight is the price of x and y alone.
    assert [row["user_mean_price"] for row in rows_of.values()] == [None, None, 10.0, 10.0]


def test_who_has_no_stored_history_is_a_stranger(event_maker: Callable[..., pl.DataFrame]) -> None:
    midnight = 20_000 * DAY_US
    rows = [
        {"user_id": "new", "item_id": "x", "event_type": "cart", "time": midnight + HOUR_US},
        {"session_id": "anonymous", "item_id": "y", "event_type": "view", "time": midnight - HOUR_US},
        {"session_id": "anonymous", "item_id": "x", "event_type": "cart", "time": midnight + HOUR_US},
        {"user_id": "idle", "item_id": "x", "event_type": "view", "time": midnight - HOUR_US},
        {"user_id": "idle", "item_id": "x", "event_type": "cart", "time": midnight},
    ]
    forms = written(event_maker(rows), PrepareSettings()).group_by("user_key").agg("form").sort("user_key")
    assert dict(forms.iter_rows()) == {
        "idle": [STRANGER, WITH_ITEMS, USER, USER_WITH_ITEMS],
        "new": [STRANGER, WITH_ITEMS],
        "session:anonymous": [STRANGER, WITH_ITEMS],
    }


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_may_be_none_or_all(share: float, log_maker: Callable[..., pl.DataFrame], shop_settings: PrepareSettings) -> None:
    events = log_maker(600, seed=2)
    everything = written(events, shop_settings)
    some = written(events, shop_settings, share=share)
    carts = everything.filter(pl.col("form") == STRANGER)["cart_id"].n_unique()
    assert some["cart_id"].n_unique() == share * carts
    assert set(some["cart_id"]) <= set(everything["cart_id"])


def test_requests_look_as_the_log_does(log_maker: Callable[..., pl.DataFrame]) -> None:
    """A log without views or carts has requests of its own most frequent interaction, and the audit knows so too."""
    events = log_maker(600, seed=2)
    for kinds, expected in (
        (("view", "cart"), {"recent_items": "view", "cart_items": "cart"}),
        (("view", "rating"), {"recent_items": "view", "cart_items": "view"}),
        (("purchase", "rating"), {"recent_items": "purchase", "cart_items": "purchase"}),
        (("cart", "rating"), {"recent_items": "cart", "cart_items": "cart"}),
        (("rating",), {"recent_items": "rating", "cart_items": "rating"}),
    ):
        settings = PrepareSettings(interaction_types=kinds)
        assert request_kinds(code_events(events, kinds)) == EventIndex(events, settings).request_kinds == expected
