"""``NormalizeMinMax``: (x - min) / (max - min), and x / 2x where the column did not vary in training.

The latter is 1/2 for all but 0, of which it is NaN: NVTabular's choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cartwheel.core.errors import RunError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.normalize import float_result, precision
from workflows.compiler.operators.step import (
    Applied,
    Array,
    Made,
    Step,
    Value,
    by_numpy,
    elementwise,
    float_element,
    one,
    operand,
    require_number,
    to_float,
)
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class Rescale(Step):
    """Maps ``low`` to 0 and ``low + span`` to 1; ``span`` is 0 for a column that did not vary. The result is ``dtype``."""

    low: float
    span: float
    dtype: str

    @property
    def offset(self) -> float:
        """Return |low| / span."""
        offset = abs(self.low) / self.span if self.span > 0 else 0.0
        return offset if math.isfinite(offset) else 0.0

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return ``dtype``."""
        require_number(types, "NormalizeMinMax")
        return types[0].of(self.dtype)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Sub`` and ``Div``."""
        value = to_float(builder, values[0], precision(values[0].type, self.low, self.span))
        number = value.name
        if self.span:
            number, scale = builder.add("Sub", number, operand(builder, self.low, value)), operand(builder, self.span, value)
        else:
            scale = builder.add("Add", number, number)
        return to_float(builder, value.becomes(builder.add("Div", number, scale)), self.dtype)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Subtract and divide."""
        within = types[0].of(precision(types[0], self.low, self.span))
        low, span = within.numpy.type(self.low), within.numpy.type(self.span)
        result = types[0].of(self.dtype).polars_element

        def scaled(numbers: Array) -> Array:
            return (numbers - low) / span if self.span else numbers / (numbers + numbers)

        def change(element: pl.Expr) -> pl.Expr:
            number = float_element(element, within.polars_element)
            return by_numpy(number, scaled, within.polars_element).cast(result)

        return elementwise(columns[0], types[0], change)


def read_normalize_min_max(applied: Applied) -> Made:
    """Read NVTabular's ``NormalizeMinMax``."""
    operator, source = applied.operator, applied.sources[0]
    if source not in operator.mins:
        raise RunError(
            f"Feature column {applied.column!r}: its NormalizeMinMax is not fitted.", "Fit the workflow before compiling it."
        )
    low, span = operator.mins[source], _span(operator.mins[source], operator.maxs[source])
    if not span >= 0:
        raise RunError(
            f"Feature column {applied.column!r}: its NormalizeMinMax was fitted to values from {low} to {operator.maxs[source]}.",
            "Fit the workflow on rows in which the column has values.",
        )
    return one(applied, Rescale(float(low), span, float_result(applied)))


def _span(low: Any, high: Any) -> float:
    """Return how far two fitted values are apart: exactly for integers, which wrap around in NumPy, and in their own type for floats."""
    if np.asarray(low).dtype.kind in "iu":
        return float(int(high) - int(low))
    with np.errstate(all="ignore"):
        return float(high - low)
