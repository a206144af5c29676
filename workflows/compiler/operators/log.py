"""``LogOp``: log(x + 1), NaN where x < -1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.step import (
    FLOAT32,
    FLOAT64,
    Applied,
    Made,
    Step,
    Value,
    elementwise,
    float_element,
    one,
    require_number,
    to_float,
)
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class LogPlusOne(Step):
    """Takes log(x + 1) of x in float32."""

    @property
    def is_exact(self) -> bool:
        """Return False: NumPy's float32 logarithm is not correctly rounded, and another one on other processors."""
        return False

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return float32."""
        require_number(types, "LogOp", booleans=True)
        return types[0].of("float32")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add the sum in float32, as NVTabular does, and the logarithm in float64.

        ONNX Runtime's float32 ``Log`` gives a row another last bit in a batch of one than in a batch of many; its float64 ``Log``
        does not, and rounds to within one unit in the last place of NumPy's.
        """
        value = to_float(builder, values[0], "float32")
        shifted = builder.add("Add", value.name, builder.constant(1.0, np.float32))
        logarithm = builder.add("Log", builder.add("Cast", shifted, to=FLOAT64))
        return value.becomes(builder.add("Cast", logarithm, to=FLOAT32))

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Add in float32 and take the logarithm in float64, as in ONNX."""

        def change(element: pl.Expr) -> pl.Expr:
            shifted = float_element(element, pl.Float32()) + pl.lit(1.0, pl.Float32)
            return shifted.cast(pl.Float64).log().cast(pl.Float32)

        return elementwise(columns[0], types[0], change)


def read_log(applied: Applied) -> Made:
    """Read NVTabular's ``LogOp``, which has nothing fitted."""
    return one(applied, LogPlusOne())
