"""Sums by group over many rows in memory that grows with the groups alone.

Polars' streaming group-by holds what it meets until the end, so that its memory grows with the rows; here it is given some rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

Collect = Callable[[pl.LazyFrame], pl.DataFrame]


class Sums:
    """Sums of columns for each group.

    The sums of a batch are joined to earlier ones as soon as those are no more than twice as many, so that each is joined a few times
    only. The order in which batches come is the order in which they are added up.

    Args:
        by: the columns that make a group; null is a value like any other.
        sums: the columns to sum.
        collect: runs a query.
    """

    def __init__(self, by: Sequence[str], sums: Sequence[str], collect: Collect = pl.LazyFrame.collect) -> None:
        self._by = list(by)
        self._sums = list(sums)
        self._collect = collect
        self._parts: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows."""
        self._parts.append(self._sum([rows]))
        while len(self._parts) > 1 and self._parts[-2].height < 2 * self._parts[-1].height:
            self._join()

    def table(self) -> pl.DataFrame:
        """Return the groups, each once, in any order; rows must have been added, if only an empty table of them."""
        while len(self._parts) > 1:
            self._join()
        return self._parts[0]

    def _join(self) -> None:
        last = self._parts.pop()
        self._parts[-1] = self._sum([self._parts[-1], last])

    def _sum(self, tables: list[pl.DataFrame]) -> pl.DataFrame:
        return self._collect(pl.concat(tables).lazy().group_by(self._by).agg(pl.col(self._sums).sum()))
