"""``Clip``: values beyond a bound become the bound, and what is missing stays missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from cartwheel.errors import NotCompilableError
from workflows.onnx_graph import GraphBuilder
from workflows.operators.step import Applied, Made, Step, Value, elementwise, one, require_number
from workflows.plan.types import ColumnType


@dataclass(frozen=True)
class Bounds(Step):
    """Holds a column between ``low`` and ``high``; None is no bound."""

    low: float | None
    high: float | None

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type unchanged."""
        require_number(types, "Clip")
        if types[0].is_integer and any(bound is not None and bound != int(bound) for bound in (self.low, self.high)):
            raise NotCompilableError(
                f"Clip holds an integer column at {self.low} and {self.high}.", "Use whole numbers as its bounds."
            )
        return types[0]

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Less``/``Greater`` and ``Where``, which leave NaN alone (``Clip`` need not)."""
        value = values[0]
        for bound, beyond in ((self.low, "Less"), (self.high, "Greater")):
            if bound is not None:
                limit = builder.constant(bound, value.type.numpy)
                value = value.becomes(builder.add("Where", builder.add(beyond, value.name, limit), limit, value.name))
        return value

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Clip, which leaves NaN and null alone."""
        low, high = (None if bound is None else pl.lit(bound, types[0].polars_element) for bound in (self.low, self.high))
        return elementwise(columns[0], types[0], lambda element: element.clip(low, high))


def read_clip(applied: Applied) -> Made:
    """Read NVTabular's ``Clip``."""
    return one(applied, Bounds(applied.operator.min_value, applied.operator.max_value))
