"""Turns text into instants: ISO 8601, Unix time or a strptime pattern, one row at a time so that one bad cell costs one row.

A time without an offset is local to a time zone, which is UTC unless the settings name another. Where its clocks are set back an hour
comes twice, and the first of the two is taken; where they are set forward an hour is missing, and a time within it is read with the
offset from before the change (02:30 is then what the clocks show as 03:30). ``clock_change`` tells which rows these are.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Final

import polars as pl

ISO: Final = "iso"
"""ISO 8601: a date, or a date and a time with or without seconds, fraction and offset; without an offset it is local."""

UTC: Final = "UTC"
"""The zone of local times where the settings name none."""
TWICE: Final = "twice"
"""``clock_change``: a local time that came twice."""
NEVER: Final = "never"
"""``clock_change``: a local time that never was."""

UNIX_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Units of Unix time -> how many make a second."""
UNITS: Final = tuple(UNIX_UNITS)

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
    (r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", "%Y-%m-%dT%H:%M:%S.%6fZ"),
)
"""Common shapes of whole columns, the last two of them those of typed columns, each with its pattern."""
_ISO_ZONE: Final = r":\d{2}[\d:.]*\s*(?:[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)\s*$"
_OFFSETS: Final = ("%z", "%:z", "%::z", "%:::z", "%#z", "%+")
_TIMES: Final = ("%H", "%I", "%T", "%R", "%r", "%X", "%c", "%s", "%k", "%l", "%p", "%P")
_BARE_FRACTION: Final = re.compile(r"(?<![.%])%f")
_SAMPLE: Final = dt.datetime(2021, 11, 23, 22, 47, 58)
_GAPS: Final = (dt.timedelta(hours=3), dt.timedelta(hours=26))
"""How far back the offset from before a change is looked for: clocks skip an hour or so, and Samoa once skipped a day."""


def parse_instant(text: pl.Expr, formats: Sequence[str], zone: str = UTC) -> pl.Expr:
    """Return the instants that ``text`` names, null where no format fits.

    Args:
        text: a String expression.
        formats: tried in order: ``ISO``, one of ``UNITS``, or a strptime pattern.
        zone: IANA name of the zone of times without an offset.

    Returns:
        A Datetime("us", "UTC") expression between the years 1 and 9999.
    """
    tried = pl.coalesce([_parse(text, form, zone) for form in formats])
    return pl.when(tried.is_between(pl.lit(_LOWEST), pl.lit(_HIGHEST))).then(tried)


def local_time(text: pl.Expr, formats: Sequence[str]) -> pl.Expr:
    """Return the local times that ``text`` names, as Datetime("us"); null where no format fits or the time is absolute."""
    return pl.coalesce([_local(text, form) for form in formats])


def clock_change(local: pl.Expr, zone: str) -> pl.Expr:
    """Return ``TWICE`` where a local time came twice in ``zone``, ``NEVER`` where it was skipped, else null; String."""
    there = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    once = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    return (
        pl.when(local.is_null() | once.is_not_null())
        .then(pl.lit(None, pl.String))
        .when(there.is_null())
        .then(pl.lit(NEVER))
        .otherwise(pl.lit(TWICE))
    )


def is_unit(form: str) -> bool:
    """Return whether ``form`` is a unit of Unix time."""
    return form in UNIX_UNITS


def fitting_unit(value: float, earliest: dt.datetime, latest: dt.datetime) -> str | None:
    """Return the unit in which ``value`` is a Unix time between the two instants; None where none is or ``value`` is not finite."""
    bounds = earliest.timestamp(), latest.timestamp()
    return next((unit for unit, per_second in UNIX_UNITS.items() if bounds[0] <= value / per_second <= bounds[1]), None)


def fault_of(form: str) -> str:
    """Return what keeps ``form`` from being read, as a clause, or the empty string where it can be.

    A pattern must bring the day, and the time where it has one, back from the text that it writes itself.
    """
    if form == ISO or form in UNIX_UNITS:
        return ""
    if "%Z" in form:
        return (
            "has %Z, but names of zones cannot be read: IST is India, Israel and Ireland. Have the export write offsets (%z), or, where "
            "all times are of one zone, write the name itself into the pattern (such as 'CET') and set source.timezone"
        )
    if _BARE_FRACTION.search(form):
        return (
            "has %f, which counts nanoseconds here. Write .%f (or %.f) for a fraction after a point, %3f or %6f for a fixed width"
        )
    if "%" not in form:
        return f"is no time format. Use {', '.join(UNITS)} for Unix time or a strptime pattern such as '%d.%m.%Y %H:%M'"
    try:
        stamp = pl.Series([_SAMPLE]).dt.replace_time_zone(UTC)
        text = (stamp if _has_offset(form) else stamp.dt.replace_time_zone(None)).dt.strftime(_chrono(form))
        back = text.to_frame("text").select(_parse(pl.col("text"), form, UTC))["text"][0]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        return f"is no strptime pattern ({str(error).splitlines()[0].rstrip('.')})"
    if back is None or back.date() != _SAMPLE.date():
        return f"does not give the whole day: {_SAMPLE:%Y-%m-%d %H:%M:%S} comes back as {back or 'nothing'}"
    if any(time in form for time in _TIMES) and back.hour != _SAMPLE.hour:
        return f"does not give the hour: {_SAMPLE:%Y-%m-%d %H:%M:%S} comes back as {back:%Y-%m-%d %H:%M:%S}"
    return ""


def _chrono(form: str) -> str:
    """Return the pattern for Polars, to which ``.%f`` would be a count of nanoseconds and not the fraction that Python means by it."""
    return form.replace(".%f", "%.f")


def _has_offset(form: str) -> bool:
    return any(zone in form for zone in _OFFSETS)


def _parse(text: pl.Expr, form: str, zone: str) -> pl.Expr:
    if form == ISO:
        parsed = _parse_iso(text)
        if zone == UTC:
            return parsed
        return pl.when(text.str.contains(_ISO_ZONE)).then(parsed).otherwise(_from_local(parsed.dt.replace_time_zone(None), zone))
    if form in UNIX_UNITS:
        return _parse_unix(text, UNIX_UNITS[form])
    if _has_offset(form):
        return text.str.strip_chars().str.strptime(_INSTANT, _chrono(form), strict=False)
    return _from_local(_parse_pattern(text, form), UTC if "%s" in form else zone)


def _local(text: pl.Expr, form: str) -> pl.Expr:
    if form == ISO:
        return pl.when(~text.str.contains(_ISO_ZONE)).then(_parse_iso(text).dt.replace_time_zone(None))
    if form in UNIX_UNITS or _has_offset(form) or "%s" in form:
        return pl.lit(None, pl.Datetime("us"))
    return _parse_pattern(text, form)


def _parse_pattern(text: pl.Expr, form: str) -> pl.Expr:
    stripped = text.str.strip_chars()
    if any(time in form for time in _TIMES):
        return stripped.str.strptime(pl.Datetime("us"), _chrono(form), strict=False)
    return stripped.str.strptime(pl.Date(), _chrono(form), strict=False).cast(pl.Datetime("us"))


def _from_local(local: pl.Expr, zone: str) -> pl.Expr:
    """Return the instants of local times; see the module for hours that come twice or never."""
    if zone == UTC:
        return local.dt.replace_time_zone(UTC)
    earlier = [pl.lit(dt.timedelta()), *map(pl.lit, _GAPS)]
    tried = [
        (local - gap).dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone(UTC) + gap
        for gap in earlier
    ]
    return pl.coalesce(tried)


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
