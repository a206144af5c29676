"""Whose own value is which, from when on: an exact look-up as of an instant, for events and tables alike."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from workflows.events.asof import AsOf, Ints
from workflows.events.event_log import codes_in

ALWAYS: Final = -(1 << 62)
"""The instant from which on a row holds that was always known, microseconds."""


class ValueHistory:
    """The values of one own column by key and time.

    Args:
        frame: ``key`` String, ``time`` Int64 (microseconds; null is always) and ``code`` Int64 (which value; null where it is missing);
            rows of one key and time in the order in which they came.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.keys = frame["key"].unique().sort()
        rows = frame.select(
            codes_in(self.keys, frame["key"]).alias("group"), pl.col("time").fill_null(ALWAYS), pl.col("code").fill_null(-1)
        ).sort("group", "time", maintain_order=True)
        group, time, self._code = (rows[name].to_numpy().astype(np.int64) for name in ("group", "time", "code"))
        self._as_of = AsOf(group, time)

    def codes(self, keys: pl.Series, at: Ints) -> Ints:
        """Return which value each key had: that of its last row strictly before the instant; -1 where there is none, or it is missing.

        Args:
            keys: String [Q]; null for an entity without a key.
            at: int64 [Q], microseconds.
        """
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.int64)
        start, stop = self._as_of.bounds(codes_in(self.keys, keys).to_numpy().astype(np.int64), at)
        return np.where(stop > start, self._code[np.maximum(stop - 1, 0)], -1)


def coded(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Replace the texts of a history by their place among the distinct ones.

    Args:
        rows: ``key``, ``time`` and ``raw`` (String, null where missing).

    Returns:
        ``key``, ``time``, ``code`` (Int64, null where missing), and the distinct texts in order.
    """
    raw = rows["raw"].drop_nulls().unique().sort()
    return rows.select("key", "time", codes_in(raw, rows["raw"]).replace(-1, None).alias("code")), raw


def changes(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a history whose text is another than that of the row of the key before.

    Args:
        rows: ``key``, ``time``, ``raw``; sorted by key and time.
    """
    same = (pl.col("key") == pl.col("key").shift()) & pl.col("raw").eq_missing(pl.col("raw").shift())
    return rows.filter(~same.fill_null(value=False))
