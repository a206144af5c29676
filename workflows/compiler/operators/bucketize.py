"""``Bucketize``: a number becomes the number of the interval that it lies in, as ``numpy.digitize`` counts them.

Of boundaries b that ascend, the result is how many are <= x; of boundaries that descend, how many are > x. NaN is sorted behind all
numbers, so what is missing has the last interval of those that ascend and the first of those that descend.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.step import INT32, Applied, Made, Step, Value, elementwise, one, require_number
from workflows.compiler.plan.types import ColumnType

_GIVEN: Final = "Bucketize.__init__.<locals>."  # what NVTabular wraps a list or dict of boundaries in


@dataclass(frozen=True)
class Digitize(Step):
    """Counts the boundaries that a value is not below.

    Attributes:
        boundaries: in ascending order, all integers or all floats.
        descends: whether they were given in descending order, which numbers the intervals from the other end.
    """

    boundaries: tuple[int, ...] | tuple[float, ...]
    descends: bool

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return int32."""
        require_number(types, "Bucketize", booleans=True)
        return types[0].of("int32")

    def _common(self, kind: ColumnType) -> ColumnType:
        """Return the type in which NumPy compares a column with the boundaries."""
        return kind.of(np.result_type(kind.numpy, np.asarray(self.boundaries, dtype=None if self.boundaries else float)).name)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``GreaterOrEqual`` with all boundaries at once, and count."""
        value, common = values[0], self._common(values[0].type)
        element = builder.add("Unsqueeze", builder.add("Cast", value.name, to=common.onnx), builder.constant([-1], np.int64))
        passed = builder.add("GreaterOrEqual", element, builder.constant(self.boundaries, common.numpy))
        axis = builder.constant([-1], np.int64)
        count = builder.add("ReduceSum", builder.add("Cast", passed, to=INT32), axis, keepdims=0)
        last = builder.constant(len(self.boundaries), np.int32)
        missing = builder.add("IsNaN", value.name) if value.type.is_float else value.missing
        if missing is not None:
            count = builder.add("Where", missing, last, count)
        return value.becomes(builder.add("Sub", last, count) if self.descends else count, "int32", missing=None)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Add up the comparisons; for Polars too NaN is above all numbers."""
        common = self._common(types[0]).polars_element
        last = pl.lit(len(self.boundaries), pl.Int32)

        def change(element: pl.Expr) -> pl.Expr:
            number = element.cast(common)
            passed = [(number >= pl.lit(boundary, common)).cast(pl.Int32) for boundary in self.boundaries]
            none: pl.Expr = pl.when(element.is_not_null()).then(pl.lit(0, pl.Int32))
            count = functools.reduce(operator.add, passed, none).fill_null(last)
            return last - count if self.descends else count

        return elementwise(columns[0], types[0], change)


def read_bucketize(applied: Applied) -> Made:
    """Read NVTabular's ``Bucketize``, which keeps its boundaries as a function of the column's name."""
    boundaries = applied.operator.boundaries
    if not getattr(boundaries, "__qualname__", "").startswith(_GIVEN):
        raise applied.refuse("takes its boundaries from a function", "Give it a list, or a dict of lists by column name.")
    return one(applied, _digitize(applied, np.asarray(boundaries(applied.sources[0]))))


def _digitize(applied: Applied, boundaries: Any) -> Digitize:
    if boundaries.ndim != 1 or boundaries.dtype.kind not in "biuf" or np.isnan(boundaries).any():
        raise applied.refuse(f"has the boundaries {boundaries.tolist()}", "Give it one list of numbers for each column.")
    if boundaries.dtype.kind == "b":
        boundaries = boundaries.astype(np.int64)
    given = tuple(boundaries.tolist())
    ordered = tuple(sorted(given))
    if given not in (ordered, ordered[::-1]):
        raise applied.refuse(f"has the boundaries {list(given)}, which are in no order", "Sort them.")
    return Digitize(ordered, descends=given != ordered)
