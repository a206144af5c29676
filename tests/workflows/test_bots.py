"""A shopper with most of the events is reported; a heavy buyer of an ordinary log is not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from workflows.events.bots import warn_of_bots
from workflows.events.event_log import EventLog, code_events


def log_of(events: dict[str, int]) -> EventLog:
    users = [user for user, count in events.items() for _ in range(count)]
    count = len(users)
    frame = pl.DataFrame(
        {
            "user_id": users,
            "item_id": [f"i{number % 7}" for number in range(count)],
            "event_type": "view",
            "timestamp": pl.Series(np.arange(count)).cast(pl.Datetime("us", "UTC")),
            "session_id": pl.Series([None] * count, dtype=pl.String),
            "category": pl.Series([None] * count, dtype=pl.String),
            "brand": pl.Series([None] * count, dtype=pl.String),
            "price": pl.Series([None] * count, dtype=pl.Float64),
            "quantity": pl.Series([None] * count, dtype=pl.Float64),
        }
    )
    return code_events(frame, ("view",))


def test_a_bot_is_named_with_its_share() -> None:
    people = {f"u{number}": 10 + number % 20 for number in range(300)}
    (warning,) = warn_of_bots(log_of({**people, "crawler": 20_000, "till": 4_000}))
    assert warning.startswith("'crawler' (20,000), 'till' (4,000): 2 shoppers have 24,000 of 29,850 events (80.4%)")
    assert "99% of shoppers have at most 29 each" in warning


@pytest.mark.parametrize("most", [999, 280])
def test_heavy_shoppers_are_people(most: int) -> None:
    assert warn_of_bots(log_of({**{f"u{number}": 10 + number % 20 for number in range(300)}, "keen": most})) == []


def test_a_log_of_few_shoppers_has_no_outlier() -> None:
    assert warn_of_bots(log_of({"a": 3_000, "b": 2_000, "c": 1_000})) == []
