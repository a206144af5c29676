"""Laws of the validator that hold for any mixture of rows."""

from __future__ import annotations

import csv
import datetime as dt
import tempfile
from pathlib import Path
from typing import Literal

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import DataError
from workflows.events.schema import CANONICAL, DUPLICATE_KEY, EVENT_TYPES
from workflows.events.sources import open_source
from workflows.events.validate import check_events
from workflows.settings import NULL_VALUES, EventSettings, SourceSettings

LATEST = dt.date(2020, 6, 1)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=4)

ROWS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(["", " ", "7", "007", "u 1", "NULL", " nan"]), WORDS),
        st.one_of(st.sampled_from(["", "i1", "i2"]), WORDS),
        st.sampled_from([*EVENT_TYPES, "", "View", "click"]),
        st.one_of(
            st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2020, 7, 1)).map(lambda instant: instant.isoformat()),
            st.sampled_from(["2020-01-01", "2020-01-01 10:00:00 UTC", "", "soon", "2020-13-01", "9999-12-31", "-5", "1e9"]),
        ),
        st.sampled_from(["", "s1"]),
        st.one_of(st.floats().map(str), st.sampled_from(["", "1", "x", "-0.0", "1e999"])),
        st.one_of(st.integers().map(str), st.sampled_from(["", "2.0", "2.5", "x", "1e30"])),
    ),
    min_size=1,
    max_size=30,
)
COLUMNS = ("user_id", "item_id", "event_type", "timestamp", "session_id", "price", "quantity")


@given(
    rows=ROWS,
    files=st.integers(1, 3),
    rows_at_once=st.sampled_from([1, 1000]),
    repeats=st.sampled_from(["auto", "keep", "sum", "refuse"]),
)
@settings(max_examples=30, deadline=None)
def test_each_row_is_kept_or_merged_or_quarantined(
    rows: list[tuple[str, ...]], files: int, rows_at_once: int, repeats: Literal["auto", "keep", "sum", "refuse"]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, target = Path(name) / "in", Path(name) / "out"
        folder.mkdir()
        for number in range(files):
            with (folder / f"{number}.csv").open("w", encoding="utf-8", newline="") as stream:
                csv.writer(stream).writerows([COLUMNS, *rows[number::files]])
        source = open_source(SourceSettings(kind="table", path=folder, decimal="."), folder)
        strictness = EventSettings(max_bad_share=0.999999, latest=LATEST, repeats=repeats)
        try:
            summary = check_events(source, strictness, target, rows_at_once=rows_at_once)
        except DataError:  # raised when no row is left: then all are in the quarantine, which the count below shows
            kept = pl.DataFrame(schema=dict.fromkeys(CANONICAL, pl.String))
            merged = 0
        else:
            kept = pl.read_parquet(target / "events.parquet")
            assert (summary.rows, summary.rows_read) == (kept.height, len(rows))
            merged = summary.merged
            assert sum(summary.reasons.values()) == summary.quarantined
        refused = pl.read_parquet(target / "quarantine.parquet")
    assert kept.height + merged + refused.height == len(rows)
    if repeats == "refuse" and not kept.is_empty():
        assert not kept.select(DUPLICATE_KEY).is_duplicated().any()
    if repeats != "refuse" and "duplicate" in refused["reason"]:
        assert repeats == "auto"
    assert refused["reason"].null_count() == 0
    _assert_places(refused, rows, files)
    _assert_sound(kept, rows)


def _assert_places(refused: pl.DataFrame, rows: list[tuple[str, ...]], files: int) -> None:
    """Each refused row stands where the quarantine says, with the values that it says."""
    assert not refused.select("file", "row").is_duplicated().any()
    for row in refused.iter_rows(named=True):
        original = rows[int(row["file"].removesuffix(".csv")) :: files][row["row"] - 1]
        assert tuple((row[column] or "").strip() for column in COLUMNS) == tuple(value.strip() for value in original)


def _assert_sound(kept: pl.DataFrame, rows: list[tuple[str, ...]]) -> None:
    if kept.is_empty():
        return
    assert kept["timestamp"].is_sorted()
    assert kept["timestamp"].max() < dt.datetime(2020, 6, 2, tzinfo=dt.timezone.utc)
    assert set(kept["event_type"]) <= set(EVENT_TYPES)
    assert set(kept["user_id"]) <= {row[0].strip() for row in rows}
    assert set(kept["item_id"]) <= {row[1].strip() for row in rows}
    assert not {*kept["user_id"], *kept["item_id"]} & set(NULL_VALUES)
    assert not any(not text.strip() for column in ("user_id", "item_id") for text in kept[column])
    assert kept["price"].drop_nulls().is_finite().all()
    assert (kept["price"].drop_nulls() >= 0).all()
    assert (kept["quantity"].drop_nulls() > 0).all()
