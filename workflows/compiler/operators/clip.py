"""``Clip``: values beyond a bound become the bound, and what is missing stays missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.constants import exact
from workflows.compiler.operators.step import Applied, Made, Step, Value, elementwise, one, require_number
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class Bounds(Step):
    """Holds a column at ``low`` or above, and then at ``high`` or below, which wins where they cross; None is no bound."""

    low: float | None
    high: float | None

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type unchanged."""
        require_number(types, "Clip")
        self._limits(types[0])
        return types[0]

    def _limits(self, kind: ColumnType) -> tuple[float | None, float | None]:
        """Return the bounds as values of the type; None for one that no value of the type is beyond."""
        low, high = self.low, self.high
        if kind.is_integer:
            ends = np.iinfo(kind.numpy)
            low = None if low is None or low <= ends.min else low
            high = None if high is None or high >= ends.max else high
        return _limit(low, kind), _limit(high, kind)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Less``/``Greater`` and ``Where``, which leave NaN alone (``Clip`` need not)."""
        value = values[0]
        for bound, beyond in zip(self._limits(value.type), ("Less", "Greater"), strict=True):
            if bound is not None:
                limit = builder.constant(bound, value.type.numpy)
                name = builder.where(builder.add(beyond, value.name, limit), limit, value.name, value.type.dtype)
                value = value.becomes(name)
        return value

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Clip at one bound and then at the other, which leaves NaN and null alone."""
        low, high = (None if bound is None else pl.lit(bound, types[0].polars_element) for bound in self._limits(types[0]))

        def change(element: pl.Expr) -> pl.Expr:
            element = element if low is None else element.clip(lower_bound=low)
            return element if high is None else element.clip(upper_bound=high)

        return elementwise(columns[0], types[0], change)


def _limit(bound: float | None, kind: ColumnType) -> float | None:
    if bound is None:
        return None
    limit = exact(bound, kind)
    if limit is None:
        fix = "whole numbers as its bounds, which the column's type holds" if kind.is_integer else "bounds that float32 holds"
        raise NotCompilableError(f"Clip holds a column of type {kind} at {bound}.", f"Use {fix}.")
    assert not isinstance(limit, str)
    return limit


def read_clip(applied: Applied) -> Made:
    """Read NVTabular's ``Clip``; nothing is beyond a bound that is NaN."""
    bounds = (applied.operator.min_value, applied.operator.max_value)
    low, high = (None if bound is None or math.isnan(bound) else bound for bound in bounds)
    return one(applied, Bounds(low, high))
