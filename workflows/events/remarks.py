"""Remarks about the values of a log that are no reason to reject a row."""

from __future__ import annotations

from typing import Final

import polars as pl

from workflows.events.instants import NEVER, TWICE
from workflows.events.numbers import CURRENCY
from workflows.events.rules import CLOCK, RAW_PREFIX, REASON

_TOLD: Final = {
    TWICE: "came twice, for clocks were set back; the first of the two is taken",
    NEVER: "never was, for clocks were set forward; it is read with the offset from before",
}


def remarks_on_values(checked: pl.LazyFrame, zone: str) -> list[str]:
    """Return a sentence on hours of a clock change and one on several currencies, where there are any.

    Args:
        checked: rows as of ``workflows.events.rules.check``.
        zone: the zone of times without an offset.
    """
    sound = checked.filter(pl.col(REASON).is_null())
    raw = pl.col(RAW_PREFIX + "timestamp")
    changes = sound.filter(pl.col(CLOCK).is_not_null()).group_by(CLOCK).agg(pl.len().alias("rows"), raw.min().alias("first"))
    remarks = [
        f"timestamp: the local time of {rows:,} events, the first {first!r}, {_TOLD[change]} ({zone})."
        for change, rows, first in _collect(changes).sort(CLOCK).iter_rows()
    ]
    sign = pl.col(RAW_PREFIX + "price").str.extract(rf"({CURRENCY})")
    signs = _collect(sound.select(sign.alias("sign")).filter(pl.col("sign").is_not_null()).group_by("sign").len()).sort("sign")
    if len(signs) > 1:
        told = ", ".join(f"{mark} in {rows:,} rows" for mark, rows in signs.iter_rows())
        remarks.append(f"price: several currencies ({told}) are read as one; convert the prices in the export.")
    return remarks


def _collect(table: pl.LazyFrame) -> pl.DataFrame:
    return table.collect(engine="streaming")
