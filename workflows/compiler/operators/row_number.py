"""The place of a row in its table: what a fit needs where NVTabular draws something for each row. A request has no such thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.step import Step, Value
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class RowNumber(Step):
    """Counts the rows from 0; it takes no column, and the Polars back end numbers the rows where it meets one."""

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return int64."""
        assert not types
        return ColumnType("int64")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:  # noqa: ARG002  (the interface's)
        """Refuse: a request is a row by itself.

        Raises:
            NotCompilableError: always.
        """
        raise NotCompilableError("The place of a row in its table has no ONNX form.", "Run this plan on tables alone.")

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:  # noqa: ARG002  (the interface's)
        """Count."""
        return pl.int_range(pl.len(), dtype=pl.Int64)
