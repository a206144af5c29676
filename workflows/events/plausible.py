"""Plausibility of timestamps: a wrong unit or several units, missing values written as 1970, all in one minute."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final

import polars as pl

from cartwheel.core.errors import DataError
from workflows.events.instants import UNIX_UNITS, fitting_unit, is_unit
from workflows.events.schema import FILE, ROW

SHOPS_SINCE: Final = dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc)
"""Hardly any log of shoppers is older."""
_MANY_ROWS: Final = 100
"""So many events do not happen in one minute by chance."""
_MINUTE: Final = dt.timedelta(minutes=1)
_YEAR_US: Final = 365 * 24 * 3600 * 10**6
_SPOKEN: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_LEAST_COUNTED: Final = dt.timedelta(days=5 * 365)
"""So much at least is counted since a start after 2000; less may be any number."""
_YEAR_1: Final = dt.datetime(1, 1, 1, tzinfo=dt.timezone.utc)
_COUNTS: Final = (
    ("days since 1899-12-30, as spreadsheets do", dt.datetime(1899, 12, 30, tzinfo=dt.timezone.utc), 86_400.0),
    ("days since 1970", dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc), 86_400.0),
    ("hours since 1970", dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc), 3_600.0),
    ("minutes since 1970", dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc), 60.0),
    ("seconds since 2001, as Apple does", dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc), 1.0),
    ("tenths of a microsecond since 1601, as Windows does", dt.datetime(1601, 1, 1, tzinfo=dt.timezone.utc), 1e-7),
    ("tenths of a microsecond since the year 1, as .NET does", _YEAR_1, 1e-7),
)
"""What else numbers count that are instants: in words, from when on, and how many seconds each is."""
_NANOSECONDS_TAKEN_FOR: Final = {"us": 10**3, "ms": 10**6, "s": 10**9}


def in_another_unit(raw: pl.Expr, formats: Sequence[str], until: dt.datetime) -> pl.Expr:
    """Return which rows are no instant of a shop in the unit that is declared, but one in another; none where no unit is declared.

    Args:
        raw: the text of the time.
        formats: the formats that the rows are read by.
        until: instants from this one on lie in the future.
    """
    if len(formats) != 1 or not is_unit(formats[0]):
        return pl.lit(value=False)
    number = raw.str.strip_chars().cast(pl.Float64, strict=False)
    fits = {
        unit: (number / per_second).is_between(SHOPS_SINCE.timestamp(), until.timestamp())
        for unit, per_second in UNIX_UNITS.items()
    }
    others = pl.any_horizontal(fit for unit, fit in fits.items() if unit != formats[0])
    return (~fits[formats[0]] & others).fill_null(value=False)


def reading_of(value: float, until: dt.datetime) -> str:
    """Return what a number may count, as a clause: Unix time in some unit, or what others than Unix count; else an empty string."""
    unit = fitting_unit(value, SHOPS_SINCE, until)
    if unit:
        return f"counted in {_SPOKEN[unit]} ({unit!r}) it is {_instant(value, unit)}"
    for spoken, start, seconds in _COUNTS:
        try:
            instant = start + dt.timedelta(seconds=value * seconds)
        except (OverflowError, ValueError):
            continue
        if SHOPS_SINCE <= instant <= until and instant - start > _LEAST_COUNTED:
            return f"if it counts {spoken}, it is {instant.isoformat(timespec='seconds')}, and has to be converted"
    return ""


def check_unit(checked: pl.LazyFrame, raw: str, formats: Collection[str], until: dt.datetime) -> list[str]:
    """Refuse times whose unit is another one than was declared or, in a typed column, was taken when the file was written.

    Args:
        checked: all rows, refused ones included, with ``FILE``, ``ROW``, ``timestamp`` and the text of the time in ``raw``.
        raw: name of the column with the text.
        formats: the formats that the rows are read by.
        until: instants from this one on lie in the future.

    Returns:
        A remark where half of the instants lie before 2000 and the numbers may count something else than Unix time.

    Raises:
        DataError: half of the instants lie before 2000 or in the future, and in another unit they do not.
    """
    if all(is_unit(form) for form in formats):
        return _check_declared(checked, raw, next(iter(formats)), until)
    _check_taken(checked, until)
    return []


def _check_declared(checked: pl.LazyFrame, raw: str, declared: str, until: dt.datetime) -> list[str]:
    number = pl.col(raw).str.strip_chars().cast(pl.Float64, strict=False)
    numbers = checked.select(FILE, ROW, raw, number.alias("number")).filter(pl.col("number").is_finite())
    median = _collect(numbers.select(pl.col("number").median())).item()
    unit = None if median is None else fitting_unit(median, SHOPS_SINCE, until)
    if median is None or unit == declared:
        return []
    file, row, text, value = _collect(numbers.head(1)).row(0)
    if unit is None:
        is_early = median / UNIX_UNITS[declared] < SHOPS_SINCE.timestamp()
        meant = reading_of(value, until) if is_early else ""
        told = (
            f"timestamp: half of all events lie before 2000; {file}, row {row}, has {text}, which is {_instant(value, declared)};"
        )
        return [f"{told} {meant}."] if meant else []
    raise DataError(
        f"{file}, row {row}: {text} is {_instant(value, declared)} if it counts {_SPOKEN[declared]} ({declared!r}), and half of all rows "
        f"lie before 2000 or in the future so; counted in {_SPOKEN[unit]} ({unit!r}) it is {_instant(value, unit)}.",
        f"Set source.timestamp_format to {unit!r}, which source.kind 'table' allows.",
    )


def _check_taken(checked: pl.LazyFrame, until: dt.datetime) -> None:
    instants = checked.filter(pl.col("timestamp").is_not_null())
    median = _collect(instants.select(pl.col("timestamp").dt.epoch("us").median())).item()
    if median is None or not 0 < median < _YEAR_US:
        return
    taken = ((unit, factor) for unit, factor in _NANOSECONDS_TAKEN_FOR.items() if _plausible(median * factor, until))
    unit, factor = next(taken, (None, 1))
    if unit is None:
        return
    file, row, stamp, value = _collect(
        instants.select(FILE, ROW, "timestamp", pl.col("timestamp").dt.epoch("us").alias("value")).head(1)
    ).row(0)
    raise DataError(
        f"{file}, row {row}: the time is {stamp.isoformat()}, and half of all rows lie in 1970 as well; "
        f"it would be {_instant(value * factor, 'us')} if Unix time in {_SPOKEN[unit]} had been taken for nanoseconds when the file was "
        "written.",
        "Write the file again with the right unit, such as pandas.to_datetime(..., unit=...).",
    )


def remarks_on_times(sound: pl.LazyFrame) -> list[str]:
    """Return what is odd about the instants of sound rows: some far before all others, or all within a minute."""
    stamp = pl.col("timestamp")
    early = stamp < pl.lit(SHOPS_SINCE)
    rows, first, last, median, before = _collect(
        sound.select(
            pl.len().alias("rows"),
            stamp.min().alias("first"),
            stamp.max().alias("last"),
            stamp.median().alias("median"),
            early.sum().alias("before"),
        )
    ).row(0)
    if not rows:
        return []
    remarks = []
    if before and median >= SHOPS_SINCE:
        remarks.append(
            f"timestamp: {before:,} events lie before 2000, the first at {first.isoformat()}, and half of all after {median.isoformat()}; "
            "a missing time may have been written as a date."
        )
    if rows >= _MANY_ROWS and last - first < _MINUTE:
        remarks.append(
            f"timestamp: all {rows:,} events lie between {first.isoformat()} and {last.isoformat()}; it may be the time of the export "
            "rather than that of the event."
        )
    return remarks


def _plausible(microseconds: float, until: dt.datetime) -> bool:
    return SHOPS_SINCE.timestamp() <= microseconds / 10**6 <= until.timestamp()


def _instant(value: float, unit: str) -> str:
    """Return the instant ``value`` units after 1970, as near as a reader of a message needs it."""
    try:
        return dt.datetime.fromtimestamp(value / UNIX_UNITS[unit], tz=dt.timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return "beyond the year 9999"


def _collect(table: pl.LazyFrame) -> pl.DataFrame:
    return table.collect(engine="streaming")
