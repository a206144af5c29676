"""Reads the shop's own values by what they mean: each distinct text of a column becomes a value, or is found to be none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from workflows.events.instants import ISO, UTC, parse_instant
from workflows.events.numbers import COMMA, parse_number

YES: Final = ("true", "t", "yes", "y", "1", "1.0", "on")
NO: Final = ("false", "f", "no", "n", "0", "0.0", "off")
EXPECTED: Final = {
    "number": "numbers",
    "amount": "numbers that are not negative",
    "date": "dates or instants",
    "boolean": "yes or no (true, false, 1, 0, yes, no)",
    "vector": "lists of numbers",
    "tags": "lists of names",
}
"""Kind -> what its values are, for messages."""
_BLANKS: Final = r"[,;\s]+"


@dataclass(frozen=True)
class Reading:
    """How the text of own values is read.

    Attributes:
        kind: what a value means, a ``workflows.settings.OwnKind``.
        separator: what stands between tags, or the numbers of a vector; None means the usual ones.
        decimal: the decimal sign.
        formats: how dates are written, see ``workflows.events.instants``.
        zone: IANA name of the zone of dates without an offset.
        width: the longest list of tags.
    """

    kind: str
    separator: str | None = None
    decimal: str = "."
    formats: tuple[str, ...] = (ISO,)
    zone: str = UTC
    width: int = 16


VALUE_TYPES: Final = {
    "category": pl.String(),
    "text": pl.String(),
    "boolean": pl.String(),
    "tags": pl.List(pl.String()),
    "number": pl.Float32(),
    "amount": pl.Float32(),
    "date": pl.Int64(),
    "vector": pl.List(pl.Float32()),
}
"""Kind -> type of the values read; of a date microseconds since 1970 UTC."""


def read_values(raw: pl.Series, how: Reading) -> pl.Series:
    """Return the values that distinct texts name, of ``VALUE_TYPES``; null where a text names none.

    Args:
        raw: String [V], without nulls.
        how: what they mean.
    """
    cell = pl.col("raw")
    frame = raw.rename("raw").to_frame()
    if how.kind in ("number", "amount"):
        number = parse_number(cell, pl.lit(how.decimal == COMMA))
        sound = number.is_finite() & ((number >= 0) if how.kind == "amount" else pl.lit(value=True))
        return frame.select(pl.when(sound).then(number).cast(pl.Float32).alias("value"))["value"]
    if how.kind == "date":
        return frame.select(parse_instant(cell, how.formats, how.zone).dt.epoch("us").alias("value"))["value"]
    if how.kind == "boolean":
        words = dict.fromkeys(YES, "true") | dict.fromkeys(NO, "false")
        lower = cell.str.strip_chars().str.to_lowercase()
        return frame.select(lower.replace_strict(words, default=None, return_dtype=pl.String).alias("value"))["value"]
    if how.kind == "tags":
        return pl.Series("value", [_tags(text, how) for text in raw], dtype=pl.List(pl.String))
    if how.kind == "vector":
        return pl.Series("value", [_vector(text, how) for text in raw], dtype=pl.List(pl.Float32), strict=False)
    return frame.select(cell.str.strip_chars().alias("value"))["value"]


def looks_numeric(raw: pl.Series) -> bool:
    """Whether all but a hundredth of the texts are numbers."""
    if raw.is_empty():
        return False
    numbers = raw.str.strip_chars().cast(pl.Float64, strict=False)
    return numbers.count() >= 0.99 * len(raw)


def _tags(text: str, how: Reading) -> list[str] | None:
    """Return the distinct tags in their order; of a JSON list its members."""
    members = _json_list(text)
    if members is None:
        members = text.split(how.separator or "|")
    names = [str(member).strip() for member in members if member is not None]
    return list(dict.fromkeys(name for name in names if name))[: how.width]


def _vector(text: str, how: Reading) -> list[float] | None:
    members = _json_list(text)
    if members is None:
        bare = text.strip().strip("[]()")
        separator = how.separator
        members = bare.split(separator) if separator else pl.Series([bare]).str.replace_all(_BLANKS, " ")[0].split()
    try:
        numbers = [float(member) for member in members]
    except (TypeError, ValueError):
        return None
    return numbers if numbers and all(abs(number) < float("inf") for number in numbers) else None


def _json_list(text: str) -> list[Any] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) else None
