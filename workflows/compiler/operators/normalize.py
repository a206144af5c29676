"""``Normalize``: (x - mean) / std, and x - mean where the column did not vary in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cartwheel.core.errors import RunError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.constants import exact
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
class Standardize(Step):
    """Centres by ``mean`` and, where ``std`` is positive, scales by it; the result is ``dtype``."""

    mean: float
    std: float
    dtype: str

    @property
    def offset(self) -> float:
        """Return |mean| / std."""
        offset = abs(self.mean) / self.std if self.std > 0 else abs(self.mean)
        return offset if math.isfinite(offset) else 0.0

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return ``dtype``."""
        require_number(types, "Normalize", booleans=True)
        return types[0].of(self.dtype)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Sub`` and ``Div``."""
        value = to_float(builder, values[0], precision(values[0].type, self.mean, self.std))
        number = builder.add("Sub", value.name, operand(builder, self.mean, value))
        if self.std > 0:  # false for 0 and for NaN, as in NVTabular
            number = builder.add("Div", number, operand(builder, self.std, value))
        return to_float(builder, value.becomes(number), self.dtype)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Subtract and divide."""
        within = types[0].of(precision(types[0], self.mean, self.std))
        mean, std = within.numpy.type(self.mean), within.numpy.type(self.std)
        result = types[0].of(self.dtype).polars_element

        def scaled(numbers: Array) -> Array:
            centred: Array = numbers - mean
            return centred / std if self.std > 0 else centred

        def change(element: pl.Expr) -> pl.Expr:
            number = float_element(element, within.polars_element)
            return by_numpy(number, scaled, within.polars_element).cast(result)

        return elementwise(columns[0], types[0], change)


def precision(kind: ColumnType, *parameters: float) -> str:
    """Return the precision in which NVTabular computes with a column and fitted parameters.

    That is float32 for a float32 column, unless a parameter overflows there, and float64 for all else: the promotion rules of NumPy 1.
    """
    if kind.dtype == "float32" and all(exact(parameter, kind) is not None for parameter in parameters):
        return "float32"
    return "float64"


def float_result(applied: Applied) -> str:
    """Return the type that a normalisation is told to give, ``float32`` or ``float64``.

    Raises:
        NotCompilableError: if it is another.
    """
    dtype: np.dtype[Any] = np.dtype(applied.operator.output_dtype)
    if dtype not in (np.float32, np.float64):
        raise applied.refuse(f"gives {dtype.name}", "Use out_dtype='float32'.")
    return dtype.name


def read_normalize(applied: Applied) -> Made:
    """Read NVTabular's ``Normalize``."""
    operator, source = applied.operator, applied.sources[0]
    if source not in operator.means:
        raise RunError(
            f"Feature column {applied.column!r}: its Normalize is not fitted.", "Fit the workflow before compiling it."
        )
    return one(applied, Standardize(operator.means[source], operator.stds[source], float_result(applied)))
