"""Advice about rejected rows: for each reason, with an example value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from pathlib import Path
from typing import Final

import polars as pl

from workflows.events.plausible import reading_of
from workflows.events.reading import TOO_MANY_FIELDS, UNBALANCED
from workflows.events.rules import (
    BAD_PRICE,
    BAD_QUANTITY,
    DUPLICATE,
    FUTURE_TIME,
    MISSING_ITEM,
    MISSING_TIME,
    MISSING_USER,
    NEGATIVE_PRICE,
    NON_FINITE_PRICE,
    OTHER_UNIT,
    UNKNOWN_TYPE,
    UNPARSEABLE_TIME,
)

_NUMBER: Final = "where the column holds something else, map the right one to {column} in source.columns, and see source.decimal"
_MISSING: Final = "map the right column to {column} in source.columns, and see whether source.null_values has a name that is none"
_ADVICE: Final = {
    UNPARSEABLE_TIME: (
        "timestamp",
        "set source.timestamp_format to s, ms, us or ns for Unix time or to a strptime pattern, where the times are not ISO 8601",
    ),
    OTHER_UNIT: (
        "timestamp",
        "export all times in one unit; source.timestamp_format is that of most",
    ),
    FUTURE_TIME: (
        "timestamp",
        "see whether source.timestamp_format is the right unit or pattern, and events.latest the right day",
    ),
    BAD_PRICE: ("price", _NUMBER),
    NON_FINITE_PRICE: ("price", _NUMBER),
    NEGATIVE_PRICE: ("price", "export refunds as events of the type refund with a positive price"),
    BAD_QUANTITY: ("quantity", _NUMBER),
    MISSING_USER: ("user_id", _MISSING),
    MISSING_ITEM: ("item_id", _MISSING),
    MISSING_TIME: ("timestamp", _MISSING),
}
_REPEATS: Final = "where equal rows are events of their own, set events.repeats to 'keep' or 'sum'"
_OTHER_DIALECT: Final = (
    "where quotation marks are ordinary characters, set source.quote to an empty string, where they are escaped, source.escape"
)
_SURPLUS: Final = (
    "where the header lacks a name, give all in source.header, and where numbers have a decimal comma unquoted between commas, export them "
    "quoted or with another separator"
)
_NAMED_TYPES: Final = 3


def advise(quarantine: Path, reasons: Collection[str]) -> str:
    """Return what to do about the refused rows, each clause followed by a semicolon and a blank.

    Args:
        quarantine: the file of refused rows.
        reasons: why they are refused, the commonest first.
    """
    rows = pl.scan_parquet(quarantine, glob=False)
    clauses = [clause for reason in reasons if (clause := _clause(rows, reason))]
    return "".join(f"{clause}; " for clause in dict.fromkeys(clauses))


def _clause(rows: pl.LazyFrame, reason: str) -> str:
    if reason == UNKNOWN_TYPE:
        return _unknown_types(rows)
    if reason == DUPLICATE:
        return _REPEATS
    if reason in (UNBALANCED, TOO_MANY_FIELDS):
        return _OTHER_DIALECT if reason == UNBALANCED else f"{_SURPLUS}; {_OTHER_DIALECT}"
    if reason not in _ADVICE:
        return ""
    column, advice = _ADVICE[reason]
    found = _collect(rows.filter(pl.col("reason") == reason).select(column, "file", "row").head(1))
    value, file, row = found.row(0)
    shown = "" if value is None else f" of {value!r}"
    likely = _likely(value) if reason == UNPARSEABLE_TIME else ""
    return f"for {reason}{shown} ({file}, row {row}), {advice.format(column=column)}{likely}"


def _likely(time: str | None) -> str:
    """Return what a time that is a number may count, in brackets; nothing where it is none."""
    try:
        meant = reading_of(float(time or ""), dt.datetime.now(tz=dt.timezone.utc))
    except ValueError:
        return ""
    return f" ({meant})" if meant else ""


def _unknown_types(rows: pl.LazyFrame) -> str:
    unknown = rows.filter(pl.col("reason") == UNKNOWN_TYPE, pl.col("event_type").is_not_null())
    counted = unknown.group_by("event_type").len().sort(["len", "event_type"], descending=[True, False]).head(_NAMED_TYPES)
    named = ", ".join(f"{name!r} ({count:,})" for name, count in _collect(counted).rows())
    if not named:
        return "every row needs an event type: source.columns says which column has it, source.default_event_type what it is else"
    return f"the unknown event types {named} may be mapped to known ones in source.event_types"


def _collect(table: pl.LazyFrame) -> pl.DataFrame:
    return table.collect(engine="streaming")
