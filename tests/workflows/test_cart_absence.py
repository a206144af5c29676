"""Where a log has no cart examples, the reason is the true one and what is proposed works."""

from __future__ import annotations

import re

import polars as pl
import pytest

from workflows.events.event_log import DAY_US, EventLog, code_events
from workflows.settings import PrepareSettings
from workflows.tasks.cart_absence import why_no_carts
from workflows.tasks.split import split_log

HOUR_US = DAY_US // 24


def shop(adds: list[int], bought_after: dict[int, int], days: int = 40) -> EventLog:
    """Carts of one item each at the given hours; every one in ``bought_after`` is bought so many hours later."""
    rows = [("viewer", "lamp", "view", hour * HOUR_US) for hour in range(days * 24)]
    for number, hour in enumerate(adds):
        rows.append((f"u{number}", "lamp", "cart", hour * HOUR_US))
        if number in bought_after:
            rows.append((f"u{number}", "lamp", "purchase", (hour + bought_after[number]) * HOUR_US + 2))
    frame = pl.DataFrame(sorted(rows, key=lambda row: row[3]), schema=["user_id", "item_id", "event_type", "time"], orient="row")
    nothing = {name: pl.lit(None, pl.String) for name in ("session_id", "category", "brand")}
    instants = pl.col("time").cast(pl.Datetime("us", "UTC")).alias("timestamp")
    full = frame.with_columns(instants, price=pl.lit(None, pl.Float64), quantity=pl.lit(None, pl.Float64), **nothing)
    return code_events(full, ("view", "cart", "purchase"))


def why(log: EventLog, **settings: object) -> str:
    asked = PrepareSettings(**settings)  # type: ignore[arg-type]
    return why_no_carts(log, split_log(log.time, asked), asked)


ALL_DAYS = list(range(0, 40 * 24, 2))
EVERY_THIRD = dict.fromkeys(range(0, len(ALL_DAYS), 3), 3)


def test_a_log_with_carts_has_no_reason() -> None:
    assert why(shop(ALL_DAYS, EVERY_THIRD)) == ""


@pytest.mark.parametrize(
    ("adds", "bought", "settings", "reason", "remedy"),
    [
        ([], {}, {}, "the log has no cart events", set()),
        (
            ALL_DAYS,
            EVERY_THIRD,
            {"cart_window_hours": 200.0},
            "carts of the valid split can be labelled",
            {"cart_window_hours"},
        ),
        (ALL_DAYS, {}, {}, "ends within it no line is bought; neither a shorter window nor larger shares", set()),
        (ALL_DAYS, dict.fromkeys(range(len(ALL_DAYS)), 1), {}, "ends within it every line is bought", set()),
        (
            ALL_DAYS[:-80],
            EVERY_THIRD,
            {"valid_share": 0.1, "test_share": 0.05},
            "the test split has no cart events",
            {"valid_share", "test_share"},
        ),
    ],
)
def test_the_reason_is_true_and_what_is_proposed_works(
    adds: list[int], bought: dict[int, int], settings: dict[str, float], reason: str, remedy: set[str]
) -> None:
    log = shop(adds, {number: after for number, after in bought.items() if number < len(adds)})
    sentence = why(log, **settings)
    assert sentence.startswith("The cart task is left out: ")
    assert reason in sentence
    proposed = {name: float(value) for name, value in re.findall(r"prepare\.(\w+) = ([\d.]*\d)(?= would| with)", sentence)}
    assert set(proposed) == remedy
    if remedy:
        assert sentence.endswith("would work.")
        assert why(log, **{**settings, **proposed}) == ""
