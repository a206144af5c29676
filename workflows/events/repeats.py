"""Distinguishes duplicate rows from repeated events.

A row is a duplicate only where a system cannot have meant it twice. Nobody views an item twice in one second, so equal views of one second
are one view. But an order of three pieces may be three equal rows, and where times are those of a minute or a day, two equal rows are
two events. Between files it is the other way about: where most rows of a file at some instant stand in an earlier file as well, the two
overlap, and these rows were told before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import polars as pl

from workflows.events.instants import UTC
from workflows.events.schema import CART, FILE, PURCHASE, REFUND, REMOVE_FROM_CART

AUTO: Final = "auto"
KEEP: Final = "keep"
SUM: Final = "sum"
REFUSE: Final = "refuse"

_PIECES: Final = (PURCHASE, REFUND)
"""Types of events that repeat in orders, whose lines share one instant however fine the clock is."""
_COUNTABLE: Final = (*_PIECES, CART, REMOVE_FROM_CART)
"""Types of events that have a quantity."""
_MOST: Final = 0.95
"""Share of the times that must lie on whole minutes where times are coarse."""
_COARSE: Final = "__cartwheel_coarse"


@dataclasses.dataclass(frozen=True)
class Repeats:
    """How rows that agree are dealt with.

    Attributes:
        policy: ``events.repeats``.
        key: columns in which duplicates agree.
        columns: the event columns, in which repeats agree.
        coarse: ``FILE`` and ``event_type`` of the rows whose times are whole minutes, hours or days.
    """

    policy: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    coarse: pl.DataFrame


@dataclasses.dataclass(frozen=True)
class Separated:
    """What became of rows.

    Attributes:
        events: the events that they are; where repeats were summed, with their quantity.
        duplicates: the rows that tell an event again.
        merged: how many rows were added to the quantity of another.
        again: how many rows repeat another and are events of their own.
    """

    events: pl.DataFrame
    duplicates: pl.DataFrame
    merged: int
    again: int


def find_coarse(sound: pl.LazyFrame, zone: str) -> pl.DataFrame:
    """Return file and type of the events whose times lie on whole minutes: ``FILE`` and ``event_type``."""
    local = pl.col("timestamp") if zone == UTC else pl.col("timestamp").dt.convert_time_zone(zone)
    whole = (local.dt.second() == 0) & (local.dt.microsecond() == 0)
    shares = sound.group_by(FILE, "event_type").agg(whole.mean().alias("share")).collect(engine="streaming")
    return shares.filter(pl.col("share") >= _MOST).select(FILE, "event_type")


def separate(rows: pl.DataFrame, how: Repeats) -> Separated:
    """Separate the rows of a range of time into events and duplicates.

    Args:
        rows: sound rows, sorted by time, file and row; rows that agree in time are all there.
        how: what counts as what.
    """
    alike = rows.select(pl.struct(how.key).is_duplicated().alias("alike"))["alike"]
    if how.policy == KEEP or not alike.any():
        return Separated(rows, rows.clear(), 0, _count_again(rows, how) if alike.any() else 0)
    number = pl.int_range(pl.len(), dtype=pl.UInt32).alias(_NUMBER)
    numbered = rows.with_columns(number)
    found = _judge(numbered, numbered.filter(alike), how)
    duplicate, merged = (found.filter(pl.col(_VERDICT) == verdict)[_NUMBER] for verdict in (_DUPLICATE, _MERGED))
    pieces = found.filter(pl.col(_PIECES_HERE) > 1).select(_NUMBER, _PIECES_HERE)
    gone = pl.concat([duplicate, merged])
    events = numbered.filter(~pl.col(_NUMBER).is_in(gone.implode()))
    if not pieces.is_empty():
        each = pl.col("quantity").fill_null(1.0)
        events = events.join(pieces, on=_NUMBER, how="left", maintain_order="left").with_columns(
            quantity=pl.when(pl.col(_PIECES_HERE) > 1).then(each * pl.col(_PIECES_HERE)).otherwise("quantity")
        )
    duplicates = numbered.filter(pl.col(_NUMBER).is_in(duplicate.implode()))
    kept = events.select(rows.columns)
    return Separated(kept, duplicates.select(rows.columns), len(merged), _count_again(kept, how))


_NUMBER: Final = "__cartwheel_number"
_VERDICT: Final = "__cartwheel_verdict"
_PIECES_HERE: Final = "__cartwheel_pieces"
_DUPLICATE: Final = "duplicate"
_MERGED: Final = "merged"


def _judge(rows: pl.DataFrame, alike: pl.DataFrame, how: Repeats) -> pl.DataFrame:
    """Return number, verdict and pieces of the rows that have others of their key beside them."""
    told_before = ~pl.struct(how.key).is_first_distinct()
    if how.policy == REFUSE:
        return alike.select(_NUMBER, _verdict(told_before, pl.lit(value=False)), pl.lit(1, pl.UInt32).alias(_PIECES_HERE))
    if how.policy == SUM:
        return _merge(alike.with_columns(_NOTHING), how, pl.lit(value=True))
    coarse = how.coarse.with_columns(pl.lit(value=True).alias(_COARSE))
    alike = alike.join(coarse, on=[FILE, "event_type"], how="left", maintain_order="left").with_columns(
        pl.col(_COARSE).fill_null(value=False)
    )
    once = alike.filter(~pl.col(_COARSE) & ~pl.col("event_type").is_in(_PIECES))
    again = alike.filter(pl.col(_COARSE) | pl.col("event_type").is_in(_PIECES))
    return pl.concat(
        [
            once.select(_NUMBER, _verdict(told_before, pl.lit(value=False)), pl.lit(1, pl.UInt32).alias(_PIECES_HERE)),
            _merge(again.with_columns(_overlaps(rows, again, how)), how, pl.col("event_type").is_in(_COUNTABLE)),
        ]
    )


_OVERLAP: Final = "__cartwheel_overlap"
_NOTHING: Final = pl.lit(value=False).alias(_OVERLAP)


def _overlaps(rows: pl.DataFrame, again: pl.DataFrame, how: Repeats) -> pl.Series:
    """Return which rows stand in an earlier file as well, where that goes for most rows of their file at that instant.

    The second of two equal rows of a file stands in another file only if that one has two of them as well.
    """
    nth = pl.int_range(pl.len(), dtype=pl.UInt32).over(FILE, *how.columns).alias("nth")
    placed = again.select(nth, FILE, *how.columns)
    earlier = placed.select((~pl.struct("nth", *how.columns).is_first_distinct()).alias(_OVERLAP))[_OVERLAP]
    if not earlier.any():
        return earlier
    there = rows.group_by(FILE, "timestamp").agg(pl.len().alias("all"))
    told = again.filter(earlier).group_by(FILE, "timestamp").agg(pl.len().alias("told"))
    most = there.join(told, on=[FILE, "timestamp"]).filter(2 * pl.col("told") > pl.col("all")).select(FILE, "timestamp")
    marked = again.select(FILE, "timestamp").join(
        most.with_columns(pl.lit(value=True).alias("most")), on=[FILE, "timestamp"], how="left", maintain_order="left"
    )
    return (earlier & marked["most"].fill_null(value=False)).alias(_OVERLAP)


def _merge(alike: pl.DataFrame, how: Repeats, countable: pl.Expr) -> pl.DataFrame:
    """Judge rows that are no duplicates unless files overlap: where they can be counted, the first of equal rows stands for all."""
    fresh = ~pl.col(_OVERLAP)
    same = [*how.columns, _OVERLAP]
    counted = alike.with_columns(
        pl.when(fresh & countable).then(fresh.sum().over(same)).otherwise(1).cast(pl.UInt32).alias(_PIECES_HERE),
        (fresh & countable & (pl.int_range(pl.len()).over(same) > 0)).alias(_MERGED),
    )
    return counted.select(
        _NUMBER,
        _verdict(pl.col(_OVERLAP), pl.col(_MERGED)),
        pl.when(pl.col(_MERGED)).then(1).otherwise(_PIECES_HERE).cast(pl.UInt32).alias(_PIECES_HERE),
    )


def _verdict(duplicate: pl.Expr, merged: pl.Expr) -> pl.Expr:
    return (
        pl.when(duplicate)
        .then(pl.lit(_DUPLICATE))
        .when(merged)
        .then(pl.lit(_MERGED))
        .otherwise(pl.lit(None, pl.String))
        .alias(_VERDICT)
    )


def _count_again(events: pl.DataFrame, how: Repeats) -> int:
    return int(events.select((~pl.struct(how.columns).is_first_distinct()).sum()).item())


def describe(merged: int, again: int, policy: str) -> list[str]:
    """Return a sentence about repeats, or none where there are none."""
    told: Sequence[str] = [
        *([f"{merged:,} rows repeat another and are added to its quantity"] if merged else []),
        *([f"{again:,} rows repeat another and are events of their own"] if again else []),
    ]
    return [f"{'; '.join(told)} (events.repeats = {policy!r})."] if told else []
