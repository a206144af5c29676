"""``FillMissing`` and ``FillMedian``: what is missing becomes a constant, and a column of its own may say where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.constants import exact
from workflows.compiler.operators.step import Applied, Made, Step, Value, elementwise, one
from workflows.compiler.plan.types import ColumnType

_FLAG: Final = "_filled"


@dataclass(frozen=True)
class Fill(Step):
    """Replaces what is missing by ``by``."""

    by: float | str

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type unchanged."""
        if exact(self.by, types[0]) is None:
            raise NotCompilableError(
                f"A column of type {types[0]} cannot be filled with {self.by!r}.",
                "Fill with a value of the column's type (a whole number where it holds integers), or cast the column to float64.",
            )
        return types[0]

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Where`` on ``IsNaN`` or on what says that the value is missing."""
        value = values[0]
        missing = builder.add("IsNaN", value.name) if value.type.is_float else value.missing
        if missing is None:
            return value
        by = exact(self.by, value.type)
        assert by is not None
        constant = builder.constant(by) if value.type.is_string else builder.constant(by, value.type.numpy)
        return value.becomes(builder.where(missing, constant, value.name, value.type.dtype), missing=None)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Fill NaN and null."""
        by = pl.lit(exact(self.by, types[0]), types[0].polars_element)
        return elementwise(
            columns[0], types[0], lambda element: element.fill_nan(by) if types[0].is_float else element.fill_null(by)
        )


@dataclass(frozen=True)
class IsMissing(Step):
    """Says where a column is missing."""

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return bool."""
        return types[0].of("bool")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``IsNaN``, or spread over all rows what says that the value is missing."""
        value = values[0]
        if value.type.is_float:
            return value.becomes(builder.add("IsNaN", value.name), "bool")
        missing = value.missing or builder.constant(False, np.bool_)
        return value.becomes(builder.add("Expand", missing, builder.add("Shape", value.name)), "bool", missing=None)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Ask for NaN or null."""
        return elementwise(columns[0], types[0], lambda element: element.is_nan() if types[0].is_float else element.is_null())


def read_fill_missing(applied: Applied) -> Made:
    """Read NVTabular's ``FillMissing``."""
    if _is_flag(applied):
        return _flag(applied)
    value = applied.operator.fill_val
    if not isinstance(value, str):
        try:
            nothing = math.isnan(value)
        except TypeError:
            raise applied.refuse(
                f"fills with {value!r}, neither a number nor a string", "Fill with a number or a string."
            ) from None
        if nothing:
            return one(applied)
        return one(applied, Fill(value))
    return one(applied, Fill(value.rstrip("\0")))  # pandas fills by an array of NumPy, which ends text before the NULs at its end


def read_fill_median(applied: Applied) -> Made:
    """Read NVTabular's ``FillMedian``: whatever median it stored is used; NaN, the median of nothing, fills nothing."""
    source = applied.sources[0]
    if source not in applied.operator.medians:
        raise RunError(
            f"Feature column {applied.column!r}: its FillMedian is not fitted.", "Fit the workflow before compiling it."
        )
    if _is_flag(applied):
        return _flag(applied)
    median = applied.operator.medians[source]
    return one(applied) if math.isnan(median) else one(applied, Fill(median))


def _is_flag(applied: Applied) -> bool:
    """Whether the column is one that says where another was missing."""
    return bool(applied.operator.add_binary_cols) and applied.column != applied.sources[0]


def _flag(applied: Applied) -> Made:
    """Read a column that says where another was missing.

    NVTabular types the flags of a list as a list, and makes one flag of the whole list. Where columns are called ``x`` and ``x_filled``,
    the flags of the first overwrite the second, before or after the second is flagged itself.
    """
    source = applied.sources[0]
    if applied.type.is_list:
        raise applied.refuse(f"flags what was missing in the lists of {source!r}", "Use add_binary_cols=False for lists.")
    if source.removesuffix(_FLAG) != source and source.removesuffix(_FLAG) in applied.groups:
        raise applied.refuse(
            f"overwrites the column {source!r} by the flags of {source.removesuffix(_FLAG)!r}",
            f"Give {source!r} another name, or fill it in a node of its own.",
        )
    return one(applied, IsMissing())
