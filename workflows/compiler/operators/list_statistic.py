"""What ``Groupby`` sums a list up to: in requests, which give a group's values as a list, and in tables of lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.step import INT64, Step, Value
from workflows.compiler.plan.types import ColumnType

STATISTICS: Final = ("sum", "mean", "min", "max", "std", "var", "median", "nunique")
_ORDERED: Final = ("min", "max")
_SORTED: Final = ("median", "nunique")


@dataclass(frozen=True)
class ListStatistic(Step):
    """Sums up each list without what is missing in it, as pandas does.

    Of nothing, a sum and a number of values are 0, and all else is NaN; only the least and the greatest of integers are 0 then, which no
    group of a table comes to. ``var`` and ``std`` divide by one less than there are, so that of one value they are NaN.

    Attributes:
        how: one of ``STATISTICS``.
    """

    how: str

    @property
    def is_exact(self) -> bool:
        """Return whether it adds nothing up, for the order of a sum is the executor's."""
        return self.how in (*_ORDERED, *_SORTED)

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type of the elements for the least and the greatest, int32 for a number of values, and float32 for all else."""
        if not types[0].is_number:
            raise NotCompilableError(f"Groupby takes the {self.how} of {types[0]}.", "Take it of numbers.")
        if self.how in _ORDERED:
            return ColumnType(types[0].dtype)
        return ColumnType("int32" if self.how == "nunique" else "float32")

    def _whole(self, kind: ColumnType) -> bool:
        """Whether it is computed among int64, in which no digit is lost, and not among float64."""
        return kind.is_integer and self.how in (*_ORDERED, "nunique")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add what sums up the slots that are elements, in float64, or in int64 where the elements are integers and stay so."""
        value = values[0]
        there = _there(builder, value)
        whole = self._whole(value.type)
        within = ColumnType("int64" if whole else "float64")
        bounds: Any = np.iinfo(np.int64) if whole else np.finfo(np.float64)
        count = builder.add("ReduceSum", builder.add("Cast", there, to=INT64), builder.constant([1], np.int64), keepdims=1)
        cast = builder.add("Cast", value.name, to=within.onnx)

        def blanked(blank: Any) -> str:
            return builder.add("Where", there, cast, builder.constant(blank, within.numpy))

        if self.how in _ORDERED:
            numbers = blanked(bounds.max if self.how == "min" else bounds.min)
            found = builder.add(f"Reduce{self.how.capitalize()}", numbers, axes=[1], keepdims=1)
            none = builder.add("Equal", count, builder.constant([[0]], np.int64))
            found = builder.add("Where", none, builder.constant(0 if whole else np.nan, within.numpy), found)
        elif self.how in _SORTED:
            found = self._of_sorted(builder, blanked(bounds.max), count, within)
        else:
            found = self._of_sums(builder, blanked(0), there, builder.add("Cast", count, to=within.onnx))
        result = self.result([value.type])
        return Value(builder.add("Cast", found, to=result.onnx), result)

    def _of_sums(self, builder: GraphBuilder, numbers: str, there: str, count: str) -> str:
        """Return a sum, a mean or a variance, float64 [B, 1]; ``count`` is float64 [B, 1], so that 0 / 0 is NaN."""
        axis, zero, one = builder.constant([1], np.int64), builder.constant(0, np.float64), builder.constant(1, np.float64)
        found = builder.add("ReduceSum", numbers, axis, keepdims=1)
        if self.how == "sum":
            return found
        found = builder.add("Div", found, count)
        if self.how == "mean":
            return found
        apart = builder.add("Where", there, builder.add("Sub", numbers, found), zero)
        squares = builder.add("ReduceSum", builder.add("Mul", apart, apart), axis, keepdims=1)
        found = builder.add("Div", squares, builder.add("Max", builder.add("Sub", count, one), zero))
        return builder.add("Sqrt", found) if self.how == "std" else found

    def _of_sorted(self, builder: GraphBuilder, numbers: str, count: str, within: ColumnType) -> str:
        """Return a median or a number of values, [B, 1]; what is missing is the greatest of all, and so sorted behind the others."""
        rows = builder.add("Shape", count)
        blank = builder.add("Expand", builder.constant([[np.nan if self.how == "median" else 0]], within.numpy), rows)
        width = builder.add("Shape", numbers, start=1, end=2)
        ordered = builder.add_many("TopK", 2, numbers, width, axis=1, largest=0)[0]
        zero, one, two = (builder.constant([[number]], np.int64) for number in (0, 1, 2))
        if self.how == "median":
            widened = builder.add("Concat", ordered, blank, axis=1)
            none = builder.add("Equal", count, zero)

            def at(place: str) -> str:
                return builder.add("GatherElements", widened, builder.add("Where", none, width, place), axis=1)

            low, high = (at(builder.add("Div", each, two)) for each in (builder.add("Sub", count, one), count))
            return builder.add("Mul", builder.add("Add", low, high), builder.constant(0.5, np.float64))
        begin, end = builder.constant([0], np.int64), builder.constant([-1], np.int64)
        earlier = builder.add("Slice", ordered, begin, end, builder.constant([1], np.int64))
        later = builder.add("Slice", ordered, builder.constant([1], np.int64), width, builder.constant([1], np.int64))
        slots = builder.add("Range", builder.constant(1, np.int64), builder.add("Squeeze", width), builder.constant(1, np.int64))
        changes = builder.add("And", builder.add("Not", builder.add("Equal", earlier, later)), builder.add("Less", slots, count))
        found = builder.add("ReduceSum", builder.add("Cast", changes, to=INT64), builder.constant([1], np.int64), keepdims=1)
        return builder.add("Add", found, builder.add("Min", count, one))

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Sum up without NaN and null."""
        whole = self._whole(types[0])
        element = pl.element().cast(pl.Int64 if whole else pl.Float64)
        element = (element if types[0].is_integer else element.fill_nan(None)).drop_nulls()
        values = columns[0].list.eval(element).list
        found: pl.Expr = values.n_unique() if self.how == "nunique" else getattr(values, self.how)()
        none = 0 if whole or self.how in ("sum", "nunique") else float("nan")
        return found.fill_null(none).cast(self.result(types).polars)


def _there(builder: GraphBuilder, value: Value) -> str:
    """Return a bool [B, L] that is true where there is an element, and it is not missing."""
    width = builder.add("Squeeze", builder.add("Shape", value.name, start=1, end=2))
    slots = builder.add("Range", builder.constant(0, np.int64), width, builder.constant(1, np.int64))
    there = builder.add("Less", slots, list_lengths(builder, value))
    missing = builder.add("IsNaN", value.name) if value.type.is_float else value.missing
    return there if missing is None else builder.add("And", there, builder.add("Not", missing))


def list_lengths(builder: GraphBuilder, value: Value) -> str:
    """Return the lengths of lists, int64 [B, 1]."""
    rows, width = (builder.add("Shape", value.name, start=axis, end=axis + 1) for axis in (0, 1))
    column = builder.add("Concat", rows, builder.constant([1], np.int64), axis=0)
    return builder.add("Expand", value.lengths or width, column)
