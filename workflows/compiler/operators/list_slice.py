"""``ListSlice``: a part of each list, by places that count from its start or, where negative, from its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.constants import exact
from workflows.compiler.operators.step import Applied, Made, Step, Value, one
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class Slice(Step):
    """Keeps the elements from ``start`` up to but without ``end``, as a slice of a Python list does.

    Attributes:
        start: the first place.
        end: the place after the last; None for the end of the list.
        width: each list is filled up to so many elements; 0 fills nothing.
        pad: what lists are filled up with.
    """

    start: int
    end: int | None
    width: int = 0
    pad: float | str | None = None

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type unchanged."""
        if not types[0].is_list:
            raise NotCompilableError(f"ListSlice is applied to a column of type {types[0]}.", "Apply it to lists.")
        if self.width and exact(self.pad, types[0]) is None:
            raise NotCompilableError(
                f"Lists of {types[0].dtype} cannot be filled up with {self.pad!r}.",
                "Give ListSlice a pad_value of the lists' type.",
            )
        return types[0]

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``GatherElements`` of the places wanted, where a blank that is put after the last slot stands for all that are not there.

        Raises:
            NotCompilableError: if places count from the ends of lists whose lengths the graph does not know: what fills such lists up,
                ``""`` in a request, would be taken for elements.
        """
        value = values[0]
        if value.lengths is None and (self.start < 0 or (self.end or 0) < 0):
            raise NotCompilableError(
                "ListSlice counts from the end of lists whose lengths the request does not tell.",
                "Compile the graph with ragged lists, or slice from the start.",
            )
        places, count = self._places(builder, value)
        column = builder.add("Concat", builder.add("Shape", value.name, start=0, end=1), builder.constant([1], np.int64), axis=0)

        def gathered(table: str, blank: str) -> str:
            widened = builder.add("Concat", table, builder.add("Expand", blank, column), axis=1)
            return builder.add("GatherElements", widened, places, axis=1)

        missing = value.missing
        if missing is not None:
            missing = builder.add("Expand", missing, builder.add("Shape", value.name))
            missing = gathered(missing, builder.constant(False, np.bool_))
        pad = self._filler(value.type)
        blank = builder.constant(pad) if value.type.is_string else builder.constant(pad, value.type.numpy)
        ragged = value.lengths is not None and not self.width
        return value.becomes(gathered(value.name, blank), missing=missing, lengths=count if ragged else None)

    def _places(self, builder: GraphBuilder, value: Value) -> tuple[str, str]:
        """Return the places of the slots wanted, int64 ``[B, W]``, where L is that of the blank, and how many are elements, ``[B, 1]``."""
        slots = builder.add("Shape", value.name, start=1, end=2)
        lengths = value.lengths or slots
        first = _from_start(builder, self.start, lengths)
        behind = lengths if self.end is None else _from_start(builder, self.end, lengths)
        count = builder.add("Max", builder.add("Sub", behind, first), builder.constant([0], np.int64))
        if self.width:
            width = builder.constant([self.width], np.int64)
        elif value.lengths is None:
            width = count
        else:
            most = most_elements(self.start, self.end)
            width = slots if most is None else builder.add("Min", slots, builder.constant([most], np.int64))
        offsets = builder.add(
            "Range", builder.constant(0, np.int64), builder.add("Squeeze", width), builder.constant(1, np.int64)
        )
        places = builder.add("Where", builder.add("Less", offsets, count), builder.add("Add", first, offsets), slots)
        rows = builder.add("Shape", value.name, start=0, end=1)
        return builder.add("Expand", places, builder.add("Concat", rows, width, axis=0)), count

    def _filler(self, kind: ColumnType) -> str | float:
        if self.width:
            pad = exact(self.pad, kind)
            assert pad is not None
            return pad
        return "" if kind.is_string else 0

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Slice from places that are counted from the start, and append the padding."""
        column, kind = columns[0], types[0]
        length = column.list.len().cast(pl.Int64)
        first = _counted(self.start, length)
        behind = length if self.end is None else _counted(self.end, length)
        kept = column.list.slice(first, pl.max_horizontal(behind - first, pl.lit(0, pl.Int64)))
        kept = kept.list.eval(pl.element())  # of no rows, Polars forgets the type of a slice whose places are columns
        if not self.width:
            return kept
        padding = pl.lit(pl.Series([[self._filler(kind)] * self.width], dtype=kind.polars))
        return kept.list.concat(padding).list.head(self.width)


def most_elements(start: int, end: int | None) -> int | None:
    """Return how many elements a slice has at most; None where that depends on the list."""
    if start < 0:
        return max(0, (end if end is not None and end < 0 else 0) - start)
    return None if end is None or end < 0 else max(0, end - start)


def _from_start(builder: GraphBuilder, place: int, lengths: str) -> str:
    """Return a place as one from 0 to the length of each list."""
    if place >= 0:
        return builder.add("Min", lengths, builder.constant([place], np.int64))
    return builder.add("Max", builder.add("Add", lengths, builder.constant([place], np.int64)), builder.constant([0], np.int64))


def _counted(place: int, length: pl.Expr) -> pl.Expr:
    """Return a place as one from 0 to the length of each list."""
    if place >= 0:
        return pl.min_horizontal(length, pl.lit(place, pl.Int64))
    return pl.max_horizontal(length + place, pl.lit(0, pl.Int64))


def read_list_slice(applied: Applied) -> Made:
    """Read NVTabular's ``ListSlice``, whose ``end`` is the greatest int64 where none was given."""
    operator = applied.operator
    end = None if operator.end == np.iinfo(np.int64).max else operator.end
    if not operator.pad:
        return one(applied, Slice(operator.start, end))
    if most_elements(operator.start, end) is None:
        raise applied.refuse(
            f"fills up slices from {operator.start} to {'the end' if end is None else end}, which have no greatest length",
            "Give it an end, or start from the end.",
        )
    return one(applied, Slice(operator.start, end, max(0, operator.max_elements), operator.pad_value))
