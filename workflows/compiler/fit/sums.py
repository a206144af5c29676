"""Sums by group over many rows in memory that grows with the groups alone.

Polars' streaming group-by holds what it meets until the end, so that its memory grows with the rows; here it is given some rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import polars as pl

Collect = Callable[[pl.LazyFrame], pl.DataFrame]
_TOGETHER: Final = 1 << 20  # rows that are summed at once


def in_order(query: pl.LazyFrame) -> pl.DataFrame:
    """Run a query by the engine that adds up the rows of a group in their order, so that sums of floats are the same each time."""
    return query.collect(engine="in-memory")


class Sums:
    """Sums of columns for each group.

    Rows are summed a million at a time, and those sums are joined to earlier ones as soon as the earlier are no more than twice as many,
    so that each is joined a few times only.

    Args:
        by: the columns that make a group; null is a value like any other.
        sums: the columns to sum.
        collect: runs a query.
    """

    def __init__(self, by: Sequence[str], sums: Sequence[str], collect: Collect = in_order) -> None:
        self._by = list(by)
        self._sums = list(sums)
        self._collect = collect
        self._waiting: list[pl.DataFrame] = []
        self._parts: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows."""
        self._waiting.append(rows)
        if sum(table.height for table in self._waiting) >= _TOGETHER:
            self._take()

    def _take(self) -> None:
        """Sum the rows that wait."""
        self._parts.append(self._sum(self._waiting))
        self._waiting = []
        while len(self._parts) > 1 and self._parts[-2].height < 2 * self._parts[-1].height:
            self._join()

    def table(self) -> pl.DataFrame:
        """Return the groups, each once, in any order; rows must have been added, if only an empty table of them."""
        if self._waiting:
            self._take()
        while len(self._parts) > 1:
            self._join()
        return self._parts[0]

    def _join(self) -> None:
        last = self._parts.pop()
        self._parts[-1] = self._sum([self._parts[-1], last])

    def _sum(self, tables: list[pl.DataFrame]) -> pl.DataFrame:
        return self._collect(pl.concat(tables).lazy().group_by(self._by).agg(pl.col(self._sums).sum()))
