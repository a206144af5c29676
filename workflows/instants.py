"""Turns text into instants: ISO 8601, Unix time or a strptime pattern, one row at a time so that one bad cell costs one row."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

import polars as pl

ISO: Final = "iso"
"""ISO 8601: a date, or a date and a time with or without seconds, fraction and offset; without an offset it is UTC."""

_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNITS: Final = tuple(_PER_SECOND)
"""Units of Unix time."""

_INSTANT: Final = pl.Datetime("us", "UTC")
_MICROSECONDS: Final = 1_000_000
_LOWEST: Final = dt.datetime(1, 1, 2, tzinfo=dt.timezone.utc)
_HIGHEST: Final = dt.datetime(9999, 12, 30, tzinfo=dt.timezone.utc)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_ISO_PARTS: Final = (
    r"^\s*(?<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?<minutes>\d{2}:\d{2})(?<seconds>:\d{2})?(?<fraction>\.\d{1,9})?\s*(?<zone>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?\s*$"
)
_ISO_SHAPES: Final = (
    (r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", "%Y-%m-%dT%H:%M:%SZ"),
    (r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", "%Y-%m-%d %H:%M:%S"),
    (r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", "%Y-%m-%d %H:%M:%S UTC"),
    (r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$", "%Y-%m-%dT%H:%M:%S.%6f"),
)
"""Common shapes of whole columns, the last of them that of a typed column, each with its pattern."""


def parse_instant(text: pl.Expr, formats: Sequence[str]) -> pl.Expr:
    """Return the instants that ``text`` names, null where no format fits.

    Args:
        text: a String expression.
        formats: tried in order: ``ISO``, one of ``UNITS``, or a strptime pattern (without an offset the time is UTC).

    Returns:
        A Datetime("us", "UTC") expression between the years 1 and 9999.
    """
    tried = pl.coalesce([_parse(text, form) for form in formats])
    return pl.when(tried.is_between(pl.lit(_LOWEST), pl.lit(_HIGHEST))).then(tried)


def is_format(form: str) -> bool:
    """Tell whether ``form`` is one that ``parse_instant`` understands."""
    return form == ISO or form in UNITS or "%" in form


def _parse(text: pl.Expr, form: str) -> pl.Expr:
    if form == ISO:
        return _parse_iso(text)
    if form in _PER_SECOND:
        return _parse_unix(text, _PER_SECOND[form])
    parsed = text.str.strip_chars()
    if any(zone in form for zone in ("%z", "%:z", "%#z", "%+")):
        return parsed.str.strptime(_INSTANT, form, strict=False)
    if not any(time in form for time in ("%H", "%I", "%T", "%R", "%r", "%X", "%c", "%s", "%k", "%l")):
        return parsed.str.strptime(pl.Date(), form, strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return parsed.str.strptime(pl.Datetime("us"), form, strict=False).dt.replace_time_zone("UTC")


def _parse_iso(text: pl.Expr) -> pl.Expr:
    return text.map_batches(_parse_iso_batch, return_dtype=_INSTANT, is_elementwise=True)


def _parse_iso_batch(text: pl.Series) -> pl.Series:
    """Parse the rows of the batch's common shape the short way, some ten times faster, and the others by their parts."""
    for shape, pattern in _ISO_SHAPES:
        fits = text.str.contains(shape).fill_null(value=False)
        if 2 * int(fits.sum()) > len(text):
            nothing = pl.Series([None], dtype=pl.String())
            short = text.zip_with(fits, nothing).str.strptime(pl.Datetime("us"), pattern, strict=False, cache=False)
            short = short.dt.replace_time_zone("UTC")
            return short if fits.all() else short.fill_null(_parse_iso_parts(text.zip_with(~fits, nothing)))
    return _parse_iso_parts(text)


def _parse_iso_parts(text: pl.Series) -> pl.Series:
    parts = text.str.extract_groups(_ISO_PARTS).struct.unnest()
    zone = pl.col("zone").fill_null("+0000").replace({"Z": "+0000", "z": "+0000", "UTC": "+0000", "GMT": "+0000"})
    time = (pl.col("minutes").fill_null("00:00"), pl.col("seconds").fill_null(":00"), pl.col("fraction").fill_null(""))
    whole = parts.select(pl.concat_str("date", pl.lit("T"), *time, zone).alias("whole"))["whole"]
    return whole.str.strptime(_INSTANT, "%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, cache=False)


def _parse_unix(text: pl.Expr, per_second: int) -> pl.Expr:
    """Parse whole numbers exactly and fractions (``1234.5`` seconds) to the nearest microsecond."""
    lowest, highest = (int((bound - _EPOCH).total_seconds()) * per_second for bound in (_LOWEST, _HIGHEST))
    stripped = text.str.strip_chars()
    whole = stripped.cast(pl.Int64, strict=False)
    fraction = stripped.cast(pl.Float64, strict=False)
    # The bounds keep the arithmetic from overflowing 64 bits; beyond them a number is no plausible instant anyway.
    whole = pl.when(whole.is_between(max(lowest, -(1 << 63)), min(highest, (1 << 63) - 1))).then(whole)
    fraction = pl.when(fraction.is_between(lowest, highest)).then(fraction)
    if per_second <= _MICROSECONDS:
        scale = _MICROSECONDS // per_second
        exact, rounded = whole * scale, (fraction * scale).round()
    else:
        scale = per_second // _MICROSECONDS
        exact, rounded = whole // scale, (fraction / scale).round()
    return pl.coalesce(exact, rounded.cast(pl.Int64, strict=False)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
