"""What lies on both sides of a split: the same example is a leak, a session that goes on is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cartwheel.core.errors import LeakageError
from workflows.audit.event_index import EventIndex, Tables
from workflows.audit.splits import check_duplicates, count_crossing_sessions
from workflows.settings import PrepareSettings
from workflows.tasks.split import SPLITS

MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US
Events = Callable[[list[dict[str, object]]], pl.DataFrame]


def examples(events: pl.DataFrame, **rows: list[int]) -> Tables:
    """A recommend table a split, of the events of the given rows."""
    return {
        (name, "recommend"): events[rows[name]].select(
            pl.Series("example_id", rows[name], dtype=pl.Int64),
            pl.col("user_id").alias("user_key"),
            pl.col("timestamp").alias("anchor"),
            "item_id",
        )
        for name in SPLITS
        if name in rows
    }


def visits(event_maker: Events, sessions: list[str | None]) -> pl.DataFrame:
    """One view a minute by one shopper."""
    return event_maker(
        [
            {"user_id": "u", "item_id": f"i{place}", "event_type": "view", "time": place * MINUTE_US, "session_id": session}
            for place, session in enumerate(sessions)
        ]
    )


def test_an_example_in_two_splits_is_named_with_both(event_maker: Events) -> None:
    tables = examples(visits(event_maker, [None] * 4), train=[0, 1], valid=[1, 2], test=[3])
    with pytest.raises(LeakageError, match=r"recommend\.parquet: the example with example_id 1 is .* in train and valid; 2 rows"):
        check_duplicates(tables)


def test_one_shopper_item_and_instant_in_two_splits_are_one_example_whatever_its_row(event_maker: Events) -> None:
    events = visits(event_maker, [None, None])
    tables = examples(events, train=[0], test=[1])
    told_again = tables["train", "recommend"].with_columns(example_id=pl.lit(7, pl.Int64))
    with pytest.raises(LeakageError, match=r"user_key u, anchor .*, item_id i0 is there more than once, in train and test"):
        check_duplicates(dict(tables) | {("test", "recommend"): told_again})


@pytest.mark.parametrize("sessions", [[None] * 6, ["s"] * 6], ids=["by pauses", "by name"])
def test_a_session_that_goes_on_is_counted_and_told(event_maker: Events, sessions: list[str | None]) -> None:
    events = visits(event_maker, sessions)
    tables = examples(events, train=[0, 1, 2], valid=[3, 4], test=[5])
    counts, warnings = count_crossing_sessions(tables, EventIndex(events, PrepareSettings()), PrepareSettings())
    assert counts == {
        "sessions_across_splits": 1,
        "examples_of_earlier_sessions_valid": 2,
        "examples_of_earlier_sessions_test": 1,
    }
    (warning,) = warnings
    assert warning.startswith("1 sessions go on across a split instant: 2 of the 2 valid examples and 1 of the 1 test examples")
    assert "session_id names something longer than a visit" in warning


def test_sessions_that_end_before_the_split_are_not_told(event_maker: Events) -> None:
    events = visits(event_maker, ["a", "a", "b", "b"])
    log = EventIndex(events, PrepareSettings())
    counts, warnings = count_crossing_sessions(examples(events, train=[0, 1], valid=[2, 3]), log, PrepareSettings())
    assert not any(counts.values())
    assert not warnings


def test_sessions_of_one_name_and_two_shoppers_are_two(event_maker: Events) -> None:
    rows: list[dict[str, object]] = [
        {"user_id": user, "item_id": "i", "event_type": "view", "time": place * DAY_US, "session_id": "1"}
        for place, user in enumerate(("anna", "bert"))
    ]
    events = event_maker(rows)
    log = EventIndex(events, PrepareSettings())
    assert count_crossing_sessions(examples(events, train=[0], test=[1]), log, PrepareSettings())[1] == []


def test_the_carts_of_a_session_are_found_by_the_instant_of_the_add(
    shop_run: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    tables: Tables = {(name, "cart"): pl.read_parquet(shop_run / "examples" / name / "cart.parquet") for name in SPLITS}
    longest = shop_settings.model_copy(update={"session_gap_minutes": 60 * 24 * 365})  # one session a shopper and session_id
    counts, _ = count_crossing_sessions(tables, EventIndex(shop_events, longest), longest)
    unnamed = shop_events.filter(pl.col("session_id").is_null())["user_id"].unique()
    trained = tables["train", "cart"]["user_key"].unique()
    late = tables["test", "cart"].unique("cart_id").filter(pl.col("user_key").is_in(unnamed.implode()))
    assert counts["examples_of_earlier_sessions_test"] >= late.filter(pl.col("user_key").is_in(trained.implode())).height > 0
