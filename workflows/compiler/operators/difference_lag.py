"""``DifferenceLag``: a number less the one some rows before, or behind, within the rows of one partition.

On tables it asks the rows around. A request has those only where a later ``Groupby`` makes its rows of whole partitions: there a number
comes as a list of all events, in their order, and each is compared with its neighbours in the list.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.list_statistic import list_lengths
from workflows.compiler.operators.step import FLOAT32, FLOAT64, Applied, Made, Step, Value, require_number
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class Difference(Step):
    """Takes away the number ``shift`` rows before; of a list, the element. Without such a row the difference is missing.

    A table gives the number and then the columns of the partition, which must be equal in both rows.

    Attributes:
        shift: below 0 it is the number behind.
    """

    shift: int

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return float32."""
        require_number(types[:1], "DifferenceLag", booleans=False)
        return types[0].of("float32")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Sub`` of a list and itself, moved.

        Raises:
            NotCompilableError: if the number is no list.
        """
        [value, *partition] = values
        if partition:
            raise NotCompilableError(
                "DifferenceLag compares a row with those around it, which a request does not have.",
                "Use it before a Groupby of the same columns, or give the workflow the differences.",
            )
        numbers = builder.add("Cast", value.name, to=FLOAT64)
        if value.missing is not None:
            numbers = builder.add("Where", value.missing, builder.constant(np.nan, np.float64), numbers)
        rows, width = (builder.add("Shape", numbers, start=axis, end=axis + 1) for axis in (0, 1))
        far = abs(self.shift)
        blank = builder.add("Concat", rows, builder.constant([far], np.int64), axis=0)
        blank = builder.add("Expand", builder.constant([[np.nan]], np.float64), blank)
        axis, zero = builder.constant([1], np.int64), builder.constant([0], np.int64)
        # What lies behind the end of a list is blank as well.
        slots = builder.add("Range", builder.constant(0, np.int64), builder.add("Squeeze", width), builder.constant(1, np.int64))
        there = builder.add("Less", slots, list_lengths(builder, value))
        numbers = builder.add("Where", there, numbers, builder.constant(np.nan, np.float64))
        if self.shift >= 0:
            moved = builder.add("Slice", builder.add("Concat", blank, numbers, axis=1), zero, width, axis)
        else:
            whole = builder.add("Concat", numbers, blank, axis=1)
            end = builder.add("Add", width, builder.constant([far], np.int64))
            moved = builder.add("Slice", whole, builder.constant([far], np.int64), end, axis)
        found = builder.add("Cast", builder.add("Sub", numbers, moved), to=FLOAT32)
        return value.becomes(found, "float32", missing=None)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Shift, and take away."""
        if types[0].is_list:
            number = pl.element().cast(pl.Float64)
            return columns[0].list.eval((number - number.shift(self.shift)).cast(pl.Float32).fill_null(float("nan")))
        number = columns[0].cast(pl.Float64)
        within = [(column == column.shift(self.shift)).fill_null(False) for column in columns[1:]]
        differs = number - number.shift(self.shift)
        return (
            pl.when(functools.reduce(operator.and_, within))
            .then(differs)
            .otherwise(None)
            .cast(pl.Float32)
            .fill_null(float("nan"))
        )


def read_difference_lag(applied: Applied) -> Made:
    """Read NVTabular's ``DifferenceLag``.

    Raises:
        NotCompilableError: if it stands before a ``Groupby`` of other columns, whose lists are not whole partitions.
    """
    partition = tuple(applied.operator.partition_cols)
    [source] = applied.sources
    shift = int(applied.column.removeprefix(f"{source}_difference_lag_"))
    if not applied.available[source].is_list:
        return Made((Difference(shift),), (source, *partition))
    if applied.grouped_by != frozenset(partition):
        raise applied.refuse(
            f"compares within {list(partition)}, and what comes behind it is grouped by {sorted(applied.grouped_by or ())}",
            "Let both have the same columns, so that a request holds every row that is compared.",
        )
    return Made((Difference(shift),), (source,))
