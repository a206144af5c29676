from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from workflows.events.repeats import Repeats, find_coarse, separate
from workflows.events.schema import FILE, ROW

KEY = ("user_id", "item_id", "event_type", "timestamp")
COLUMNS = (*KEY, "price", "quantity")
DAY = dt.datetime(2025, 1, 3, tzinfo=dt.timezone.utc)
SECOND = DAY + dt.timedelta(hours=7, minutes=8, seconds=9)
Row = tuple[str, str, str, dt.datetime, float | None, float | None, str]


def row(
    kind: str = "purchase",
    time: dt.datetime = DAY,
    quantity: float | None = None,
    *,
    item: str = "i",
    price: float | None = 5.0,
    file: str = "a",
) -> Row:
    return ("u", item, kind, time, price, quantity, file)


def table(rows: list[Row]) -> pl.DataFrame:
    schema = {
        **dict.fromkeys(KEY[:3], pl.String),
        "timestamp": pl.Datetime("us", "UTC"),
        "price": pl.Float64,
        "quantity": pl.Float64,
    }
    frame = pl.DataFrame(rows, schema={**schema, FILE: pl.String}, orient="row")
    return frame.with_columns(pl.int_range(1, pl.len() + 1).over(FILE).alias(ROW)).sort("timestamp", FILE, ROW)


def judge(rows: list[Row], policy: str = "auto") -> tuple[list[tuple[str, float | None]], int, int, int]:
    """Return type and quantity of the events, and how many rows are duplicates, merged, and events again."""
    frame = table(rows)
    found = separate(frame, Repeats(policy, KEY, COLUMNS, find_coarse(frame.lazy(), "UTC")))
    assert found.events.height + found.duplicates.height + found.merged == len(rows)
    assert found.events.columns == found.duplicates.columns == frame.columns
    return list(found.events.select("event_type", "quantity").iter_rows()), found.duplicates.height, found.merged, found.again


@pytest.mark.parametrize("time", [DAY, SECOND])
def test_an_order_of_three_pieces_is_three_equal_rows(time: dt.datetime) -> None:
    assert judge([row(time=time)] * 3) == ([("purchase", 3.0)], 0, 2, 0)
    assert judge([row("refund", time, 2.0)] * 2) == ([("refund", 4.0)], 0, 1, 0)


def test_lines_that_differ_stay_apart() -> None:
    lines = [row(quantity=1.0), row(quantity=2.0), row(price=4.0, quantity=1.0), row(item="j")]
    assert judge(lines) == ([("purchase", 1.0), ("purchase", 2.0), ("purchase", 1.0), ("purchase", None)], 0, 0, 0)


@pytest.mark.parametrize("kind", ["view", "rating", "cart", "remove_from_cart"])
def test_nobody_does_the_same_twice_in_one_second(kind: str) -> None:
    assert judge([row(kind, SECOND)] * 3) == ([(kind, None)], 2, 0, 0)
    assert judge([row(kind, SECOND, price=1.0), row(kind, SECOND, price=2.0)])[1] == 1


@pytest.mark.parametrize("time", [DAY, DAY + dt.timedelta(hours=3), DAY + dt.timedelta(hours=3, minutes=5)])
def test_coarse_times_do_not_make_duplicates(time: dt.datetime) -> None:
    assert judge([row("view", time)] * 3) == ([("view", None)] * 3, 0, 0, 2)
    assert judge([row("cart", time)] * 3) == ([("cart", 3.0)], 0, 2, 0)


def test_how_coarse_times_are_is_asked_file_by_file_and_type_by_type() -> None:
    rows = [*[row("view", SECOND)] * 2, *[row("view", DAY, file="b")] * 2, *[row("cart", DAY)] * 2]
    assert judge(rows) == ([("cart", 2.0), ("view", None), ("view", None), ("view", None)], 1, 1, 1)


def test_a_few_whole_minutes_do_not_make_a_log_coarse() -> None:
    times = [SECOND + dt.timedelta(seconds=n) for n in range(100)]
    rows = [*[row("view", time) for time in times], row("view", times[51])]
    assert times[51].second == 0
    assert judge(rows)[1:] == (1, 0, 0)


def test_files_that_overlap_tell_their_rows_again() -> None:
    day = [row(), row(), row(item="j"), row("view")]
    assert judge([*day, *[(*one[:6], "b") for one in day]]) == ([("purchase", 2.0), ("purchase", None), ("view", None)], 4, 1, 0)


def test_parts_of_one_export_do_not_overlap() -> None:
    rest = [row(item=f"i{n}", file="b") for n in range(5)]
    assert judge([row(), row(file="b"), *rest]) == ([("purchase", 2.0), *[("purchase", None)] * 5], 0, 1, 0)


def test_policies() -> None:
    rows = [row(quantity=2.0), row(quantity=2.0), row(quantity=1.0), row("view", SECOND), row("view", SECOND)]
    kinds = [("purchase", 2.0), ("purchase", 2.0), ("purchase", 1.0), ("view", None), ("view", None)]
    assert judge(rows, "keep") == (kinds, 0, 0, 2)
    assert judge(rows, "sum") == ([("purchase", 4.0), ("purchase", 1.0), ("view", 2.0)], 0, 2, 0)
    assert judge(rows, "refuse") == ([("purchase", 2.0), ("view", None)], 3, 0, 0)
