"""``FillMissing`` and ``FillMedian``: what is missing becomes a constant, and a column of its own may say where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from cartwheel.errors import NotCompilableError, RunError
from workflows.onnx_graph import GraphBuilder
from workflows.operators.step import Applied, Made, Step, Value, elementwise, one
from workflows.plan.types import ColumnType


@dataclass(frozen=True)
class Fill(Step):
    """Replaces what is missing by ``by``."""

    by: float | str

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type unchanged."""
        if types[0].is_string != isinstance(self.by, str):
            raise NotCompilableError(
                f"FillMissing fills a column of type {types[0]} with {self.by!r}.", "Fill with a value of the column's type."
            )
        if types[0].is_integer and self.by != int(self.by):
            raise NotCompilableError(f"FillMissing fills an integer column with {self.by!r}.", "Fill with a whole number.")
        return types[0]

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Where`` on ``IsNaN`` or on what says that the value is missing."""
        value = values[0]
        missing = builder.add("IsNaN", value.name) if value.type.is_float else value.missing
        if missing is None:
            return value
        by = builder.constant(self.by) if value.type.is_string else builder.constant(self.by, value.type.numpy)
        return value.becomes(builder.add("Where", missing, by, value.name), missing=None)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Fill NaN and null."""
        by = pl.lit(self.by, types[0].polars_element)
        return elementwise(
            columns[0], types[0], lambda element: element.fill_nan(by) if types[0].is_float else element.fill_null(by)
        )


def read_fill_missing(applied: Applied) -> Made:
    """Read NVTabular's ``FillMissing``."""
    if applied.operator.add_binary_cols:
        raise applied.refuse("adds columns that flag what was missing", "Use add_binary_cols=False.")
    value = applied.operator.fill_val
    if not isinstance(value, str):
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise applied.refuse(
                f"fills with {value!r}, neither a number nor a string", "Fill with a number or a string."
            ) from None
    return one(applied, Fill(value))


def read_fill_median(applied: Applied) -> Made:
    """Read NVTabular's ``FillMedian``: whatever median it stored is used."""
    if applied.operator.add_binary_cols:
        raise applied.refuse("adds columns that flag what was missing", "Use add_binary_cols=False.")
    if applied.column not in applied.operator.medians:
        raise RunError(
            f"Feature column {applied.column!r}: its FillMedian is not fitted.", "Fit the workflow before compiling it."
        )
    return one(applied, Fill(applied.operator.medians[applied.column]))
