"""``ReduceDtypeSize``: integers in the narrowest type that held them in training, and floats in float32.

An integer that does not fit, because training had none so large, becomes the nearest that does. (NVTabular wraps it around to the
other end.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cartwheel.core.errors import RunError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.clip import Bounds
from workflows.compiler.operators.step import Applied, Made, Step, Value, elementwise, one, require_number
from workflows.compiler.plan.types import DTYPES, ColumnType


@dataclass(frozen=True)
class Convert(Step):
    """Converts numbers to ``dtype``, which holds them; floats are rounded."""

    dtype: str

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return ``dtype``."""
        require_number(types, "ReduceDtypeSize")
        return types[0].of(self.dtype)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Cast``."""
        value = values[0]
        return value.becomes(builder.add("Cast", value.name, to=value.type.of(self.dtype).onnx), self.dtype)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Cast."""
        result = types[0].of(self.dtype).polars_element
        return elementwise(columns[0], types[0], lambda element: element.cast(result))


def read_reduce_dtype_size(applied: Applied) -> Made:
    """Read NVTabular's ``ReduceDtypeSize``."""
    source = applied.sources[0]
    if source not in applied.operator.dtypes:
        raise RunError(
            f"Feature column {applied.column!r}: its ReduceDtypeSize is not fitted.", "Fit the workflow before compiling it."
        )
    dtype = applied.operator.dtypes[source].name
    if dtype == applied.type.dtype or not applied.type.is_number:
        return one(applied)
    if dtype not in DTYPES:
        raise applied.refuse(f"gives {dtype}", "Use float_dtype='float32'.")
    if not applied.type.is_integer:
        return one(applied, Convert(dtype))
    ends = np.iinfo(dtype)
    return one(applied, Bounds(int(ends.min), int(ends.max)), Convert(dtype))
