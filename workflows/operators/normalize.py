"""``Normalize``: (x - mean) / std, and x - mean where the column did not vary in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cartwheel.errors import RunError
from workflows.onnx_graph import GraphBuilder
from workflows.operators.step import Applied, Made, Step, Value, elementwise, float_element, one, require_number, to_float
from workflows.plan.types import ColumnType


@dataclass(frozen=True)
class Standardize(Step):
    """Centres by ``mean`` and, where ``std`` is positive, scales by it; the result is ``dtype``."""

    mean: float
    std: float
    dtype: str

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return ``dtype``."""
        require_number(types, "Normalize")
        return types[0].of(self.dtype)

    def _precision(self, kind: ColumnType) -> str:
        """Return the precision that NVTabular takes: float32 for float32, float64 for the rest."""
        return "float32" if kind.dtype == "float32" else "float64"

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Sub`` and ``Div``."""
        value = to_float(builder, values[0], self._precision(values[0].type))
        number = builder.add("Sub", value.name, builder.constant(self.mean, value.type.numpy))
        if self.std > 0:  # false for 0 and for NaN, as in NVTabular
            number = builder.add("Div", number, builder.constant(self.std, value.type.numpy))
        return to_float(builder, value.becomes(number), self.dtype)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Subtract and divide."""
        precision = types[0].of(self._precision(types[0])).polars_element
        result = types[0].of(self.dtype).polars_element

        def change(element: pl.Expr) -> pl.Expr:
            number = float_element(element, precision) - pl.lit(self.mean, precision)
            return (number / pl.lit(self.std, precision) if self.std > 0 else number).cast(result)

        return elementwise(columns[0], types[0], change)


def read_normalize(applied: Applied) -> Made:
    """Read NVTabular's ``Normalize``."""
    operator = applied.operator
    source = applied.sources[0]
    if source not in operator.means:
        raise RunError(
            f"Feature column {applied.column!r}: its Normalize is not fitted.", "Fit the workflow before compiling it."
        )
    dtype = np.dtype(operator.output_dtype)
    if dtype not in (np.float32, np.float64):
        raise applied.refuse(f"gives {dtype.name}", "Use out_dtype='float32'.")
    return one(applied, Standardize(operator.means[source], operator.stds[source], dtype.name))
