"""Colliding timestamps are counted; what the rule cannot tell apart is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cartwheel.core.errors import LeakageError
from workflows.audit.event_index import EventIndex
from workflows.audit.simultaneous import check_clock, check_simultaneous
from workflows.prepare.examples import build_examples
from workflows.settings import PrepareSettings

MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US
Events = Callable[[list[dict[str, object]]], pl.DataFrame]
SETTINGS = PrepareSettings()


def event(user: int, item: str, kind: str, time: int) -> dict[str, object]:
    return {"user_id": f"u{user}", "item_id": item, "event_type": kind, "time": time}


def invoices(event_maker: Events, instants: int) -> pl.DataFrame:
    """30 shoppers, each of whom views two items at each of their instants."""
    return event_maker(
        [
            event(user, f"i{place}{side}", "view", (user + place * 100 + 1) * MINUTE_US)
            for user in range(30)
            for place in range(instants)
            for side in "ab"
        ]
    )


def test_invoices_are_counted_and_told_but_pass(event_maker: Events) -> None:
    counts, warnings = check_clock(EventIndex(invoices(event_maker, 3), SETTINGS), SETTINGS)
    assert counts == {"simultaneous_interactions": 180, "shoppers_of_one_instant": 0, "simultaneous_purchases": 0}
    (warning,) = warnings
    assert warning.startswith("180 of the 180 interactions (100%) share shopper and instant")


def test_shoppers_of_one_instant_are_refused_by_prepare(event_maker: Events, tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    path = tmp_path / "events" / "events.parquet"
    shelf = [event(user, f"{user % 3}{side}", "view", (user + 1) * DAY_US) for user in range(30) for side in "ab"]
    event_maker(shelf).write_parquet(path)
    with pytest.raises(
        LeakageError, match=r"events\.parquet, column timestamp: 30 of the 30 shoppers with several items"
    ) as caught:
        build_examples(path, tmp_path, PrepareSettings(), 0)
    assert "Export when each event happened" in caught.value.fix
    assert not (tmp_path / "examples").exists()


@pytest.mark.parametrize("bought_first", [True, False])
def test_purchases_at_the_instant_of_their_add_are_refused_whatever_their_order(event_maker: Events, bought_first: bool) -> None:
    kinds = ("purchase", "cart") if bought_first else ("cart", "purchase")
    rows = [event(user, "i", kind, user * MINUTE_US) for user in range(1, 25) for kind in kinds]
    with pytest.raises(LeakageError, match="24 of the 24 purchases from a cart carry the instant at which the item was added"):
        check_clock(EventIndex(event_maker(rows), SETTINGS), SETTINGS)


def test_a_few_purchases_at_the_instant_of_their_add_are_told(event_maker: Events) -> None:
    later = {user: 0 if user < 8 else MINUTE_US for user in range(24)}
    too_late = [event(99, "i", "cart", 1), event(99, "i", "purchase", 40 * DAY_US)]
    rows = [
        event(user, "i", kind, user * MINUTE_US + later[user] * (kind == "purchase"))
        for user in later
        for kind in ("cart", "purchase")
    ]
    counts, warnings = check_clock(EventIndex(event_maker([*rows, *too_late]), SETTINGS), SETTINGS)
    assert counts["simultaneous_purchases"] == 8
    assert warnings[-1].startswith("8 of the 24 purchases from a cart")


def test_a_log_of_days_is_told(event_maker: Events) -> None:
    rows = [event(user, f"i{day}", "view", day * DAY_US) for user in range(3) for day in range(3)]
    (warning,) = check_clock(EventIndex(event_maker(rows), SETTINGS), SETTINGS)[1]
    assert warning.startswith("Every event lies at midnight UTC")


def recommend(events: pl.DataFrame, rows: list[int]) -> pl.DataFrame:
    chosen = events[rows].select(pl.col("user_id").alias("user_key"), pl.col("timestamp").alias("anchor"), "item_id")
    return chosen.with_columns(pl.Series("example_id", rows, dtype=pl.Int64))


def test_one_instant_is_one_example_in_test_and_several_in_training(event_maker: Events) -> None:
    events = invoices(event_maker, 1)
    log = EventIndex(events, SETTINGS)
    assert check_simultaneous({("train", "recommend"): recommend(events, [0, 1])}, log) == 2
    assert check_simultaneous({("test", "recommend"): recommend(events, [0, 2])}, log) == 2
    with pytest.raises(
        LeakageError, match=r"test/recommend\.parquet: 2 examples share shopper and instant .* the first of u0 at 1970"
    ):
        check_simultaneous({("test", "recommend"): recommend(events, [0, 1])}, log)


def test_a_negative_that_the_shopper_turned_to_at_the_instant_is_caught(event_maker: Events) -> None:
    events = invoices(event_maker, 1)
    pairs = recommend(events, [0, 0]).drop("user_key").with_columns(item_id=pl.Series(["i0a", "other"]), label=pl.Series([1, 0]))
    log = EventIndex(events, SETTINGS)
    assert check_simultaneous({("train", "ranking"): pairs}, log) == 2
    planted = pairs.with_columns(item_id=pl.Series(["i0a", "i0b"]))
    with pytest.raises(
        LeakageError, match=r"train/ranking\.parquet, column label: 1 pairs are labelled 0 .* the first u0 and i0b"
    ):
        check_simultaneous({("train", "ranking"): planted}, log)
