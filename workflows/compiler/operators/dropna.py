"""``Dropna``: rows in which a column is NaN or null are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from workflows.compiler.operators.step import RowStep
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class DropMissing(RowStep):
    """Drops the rows in which any column that reaches it is missing. A list is never missing, whatever its elements are."""

    def inputs(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return all columns."""
        return tuple(available)

    def keeps(self, columns: Mapping[str, pl.Expr], types: Mapping[str, ColumnType]) -> pl.Expr:
        """Ask every column."""
        return pl.all_horizontal([~is_missing(column, types[name]) for name, column in columns.items()])


def is_missing(column: pl.Expr, kind: ColumnType) -> pl.Expr:
    """Return where a column of the plan is missing, never null."""
    return column.is_nan() if kind.is_float and not kind.is_list else column.is_null()


def read_dropna(operator: Any) -> RowStep:
    """Read NVTabular's ``Dropna``, which has no options."""
    assert operator is not None
    return DropMissing()
