"""``Groupby`` in a request, which gives one group a row: what was a value of each event is a list, in the order of ``sort_cols``.

In tables the operator makes one row of many, which a plan of columns does not do; for requests, its lists are what the caller gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.list_statistic import STATISTICS, ListStatistic, list_lengths
from workflows.compiler.operators.step import Applied, Made, Step, Value
from workflows.compiler.plan.types import ColumnType

GROUPBY: Final = "nvtabular.ops.groupby.Groupby"


@dataclass(frozen=True)
class EndOfList(Step):
    """Takes the first or the last element of each list; of an empty list, which no group of a table is, NaN, 0 (padding) or ``""``.

    Attributes:
        last: whether it is the last.
    """

    last: bool

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type of the elements."""
        return ColumnType(types[0].dtype)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``GatherElements`` of one place a row, from lists with a blank behind them."""
        value = values[0]
        lengths = list_lengths(builder, value)
        width = builder.add("Shape", value.name, start=1, end=2)
        zero, one = (builder.constant([[number]], np.int64) for number in (0, 1))
        place = builder.add("Sub", lengths, one) if self.last else builder.add("Expand", zero, builder.add("Shape", lengths))
        place = builder.add("Where", builder.add("Equal", lengths, zero), width, place)

        def taken(table: str, blank: str) -> str:
            widened = builder.add("Concat", table, builder.add("Expand", blank, builder.add("Shape", lengths)), axis=1)
            return builder.add("GatherElements", widened, place, axis=1)

        missing = value.missing
        if missing is not None:
            missing = taken(
                builder.add("Expand", missing, builder.add("Shape", value.name)), builder.constant([[False]], np.bool_)
            )
        blank = self._blank(value.type)
        constant = builder.constant([[blank]]) if value.type.is_string else builder.constant([[blank]], value.type.numpy)
        return Value(taken(value.name, constant), ColumnType(value.type.dtype), missing=missing)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Take the element."""
        found = columns[0].list.last() if self.last else columns[0].list.first()
        blank = pl.lit(self._blank(types[0]), types[0].polars_element)
        return pl.when(columns[0].list.len() == 0).then(blank).otherwise(found)

    def _blank(self, kind: ColumnType) -> float | str:
        return float("nan") if kind.is_float else "" if kind.is_string else 0


@dataclass(frozen=True)
class ListLength(Step):
    """Counts the elements of each list."""

    def result(self, types: Sequence[ColumnType]) -> ColumnType:  # noqa: ARG002  (the interface's)
        """Return int32."""
        return ColumnType("int32")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add a ``Cast`` of the lengths."""
        return Value(builder.add("Cast", list_lengths(builder, values[0]), to=ColumnType("int32").onnx), ColumnType("int32"))

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:  # noqa: ARG002
        """Count."""
        return columns[0].list.len().cast(pl.Int32)


def group_keys(workflow: Any) -> frozenset[str] | None:
    """Return the columns that a workflow groups by; None where it does not.

    Raises:
        NotCompilableError: if it groups more than once.
    """
    grouping = find_groupby(workflow)
    return None if grouping is None else frozenset(grouping.groupby_cols)


def find_groupby(workflow: Any) -> Any:
    """Return the ``Groupby`` of a workflow; None where it has none.

    Raises:
        NotCompilableError: if it groups more than once.
    """
    found = list(_groupbys(workflow.output_node))
    if len(found) > 1:
        raise NotCompilableError(
            "The workflow groups more than once.", "Save the part behind the last Groupby as a workflow of its own."
        )
    return found[0] if found else None


def _groupbys(output: Any) -> Iterator[Any]:
    from merlin.dag.node import iter_nodes

    for node in iter_nodes([output]):
        if getattr(node.op, "is_subgraph", False):
            yield from _groupbys(node.op.graph.output_node)
        elif is_groupby(node.op):
            yield node.op


def is_groupby(operator: Any) -> bool:
    """Whether an operator is NVTabular's ``Groupby``."""
    return f"{type(operator).__module__}.{type(operator).__qualname__}" == GROUPBY


def read_groupby(applied: Applied) -> Made:
    """Read NVTabular's ``Groupby``, of a request that gives lists.

    Raises:
        NotCompilableError: if a column is summed up by a statistic that a request has no form of.
    """
    operator, [source] = applied.operator, applied.sources
    if applied.column in operator.groupby_cols:
        return Made((), (source,))
    how = applied.column.removeprefix(source).removeprefix(operator.name_sep)
    ascending = bool(operator.ascending)  # else lists begin with the latest, and first and last mean the instants all the same
    steps: dict[str, tuple[Step, ...]] = {
        "list": (),
        "first": (EndOfList(last=not ascending),),
        "last": (EndOfList(last=ascending),),
        "count": (ListLength(),),
        **{each: (ListStatistic(each),) for each in STATISTICS},
    }
    if how not in steps:
        raise applied.refuse(
            f"makes the {how} of a group",
            f"Use one of {', '.join(steps)}, or compute it before the workflow.",
        )
    return Made(steps[how], (source,))
