"""``Arithmetic``, an operator of our own: one column of two, or of one and a constant.

Everything is computed in float64, by IEEE arithmetic: x / 0 is an infinity, 0 / 0 is NaN, and what is missing makes the result missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.step import (
    Applied,
    Array,
    Made,
    Step,
    Value,
    by_numpy,
    elementwise,
    float_element,
    operand,
    require_number,
    to_float,
)
from workflows.compiler.plan.types import ColumnType

OPERATIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "add": ("Add",),
        "subtract": ("Sub",),
        "multiply": ("Mul",),
        "divide": ("Div",),
        "minimum": ("Less",),
        "maximum": ("Greater",),
        "absolute_difference": ("Sub", "Abs"),
    }
)
"""Operation -> the ONNX operators that make it; the minimum and the maximum choose by a comparison."""

_FLOAT64: Final = pl.Float64()

_NUMPY: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "add": np.add,
        "subtract": np.subtract,
        "multiply": np.multiply,
        "divide": np.true_divide,
        "absolute_difference": np.subtract,
    }
)


@dataclass(frozen=True)
class Combine(Step):
    """Combines two operands, of which one may be a constant.

    Attributes:
        operation: one of ``OPERATIONS``.
        left: the constant on the left; None for a column.
        right: the constant on the right; None for a column.
        dtype: type of the result, ``float32`` or ``float64``.
    """

    operation: str
    left: float | None
    right: float | None
    dtype: str

    @property
    def offset(self) -> float:
        """Return the size of the constant that is added or subtracted."""
        if self.operation not in ("add", "subtract", "absolute_difference"):
            return 0.0
        return max(abs(side) for side in (self.left, self.right, 0.0) if side is not None and math.isfinite(side))

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return ``dtype``."""
        require_number(types, "Arithmetic", booleans=True)
        if len(types) > 1 and any(kind.is_list for kind in types):
            raise NotCompilableError(
                f"The operator Arithmetic is applied to {types[0]} and {types[1]}.", "Combine lists with constants only."
            )
        return types[0].of(self.dtype)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add the operation's nodes in float64."""
        floats = [to_float(builder, value, "float64") for value in values]
        names = iter(floats)
        left, right = (
            next(names).name if side is None else operand(builder, side, floats[0]) for side in (self.left, self.right)
        )
        first, *rest = OPERATIONS[self.operation]
        number = builder.add(first, left, right)
        if self.operation in ("minimum", "maximum"):
            chosen = builder.add("Or", number, builder.add("IsNaN", left))  # a NaN on the right compares as false
            number = builder.add("Where", chosen, left, right)
        for name in rest:
            number = builder.add(name, number)
        return to_float(builder, floats[0].becomes(number), self.dtype)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Compute in float64."""
        result = types[0].of(self.dtype).polars_element
        if len(columns) > 1:
            left, right = (float_element(column, _FLOAT64) for column in columns)
            return _combine(self.operation, left, right).cast(result)

        def change(element: pl.Expr) -> pl.Expr:
            return self._with_constant(float_element(element, _FLOAT64)).cast(result)

        return elementwise(columns[0], types[0], change)

    def _with_constant(self, number: pl.Expr) -> pl.Expr:
        if self.operation in ("minimum", "maximum"):
            left, right = (number if side is None else pl.lit(side, _FLOAT64) for side in (self.left, self.right))
            return _combine(self.operation, left, right)

        def combined(numbers: Array) -> Array:
            left, right = (numbers if side is None else np.float64(side) for side in (self.left, self.right))
            made: Array = _NUMPY[self.operation](left, right)
            return np.abs(made) if self.operation == "absolute_difference" else made

        return by_numpy(number, combined, _FLOAT64)


def _combine(operation: str, left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """Return the operation on two float64 expressions; Polars sorts NaN above all numbers, so choices ask for it by name."""
    if operation in ("minimum", "maximum"):
        precedes = left < right if operation == "minimum" else left > right
        return pl.when((precedes & right.is_not_nan()) | left.is_nan()).then(left).otherwise(right)
    difference = left - right
    return {
        "add": left + right,
        "subtract": difference,
        "multiply": left * right,
        "divide": left / right,
        "absolute_difference": difference.abs(),
    }[operation]


def read_arithmetic(applied: Applied) -> Made:
    """Read ``workflows.compiler.column_arithmetic.Arithmetic``."""
    operator = applied.operator
    sides: list[Any] = [operator.left, operator.right]
    left, right = (None if isinstance(side, str) else side for side in sides)
    step = Combine(operator.operation, left, right, operator.dtype)
    return Made((step,), tuple(side for side in sides if isinstance(side, str)))
