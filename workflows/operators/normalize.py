"""``Normalize``: (x - mean) / std, and x - mean where the column did not vary in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cartwheel.errors import RunError
from workflows.onnx_graph import GraphBuilder
from workflows.operators.step import FLOAT32, FLOAT64, Applied, Value, require_number


@dataclass(frozen=True)
class Standardize:
    """Centres by ``mean`` and, where ``std`` is positive, scales by it."""

    mean: float
    std: float

    def onnx(self, builder: GraphBuilder, value: Value) -> Value:
        """Add ``Sub`` and ``Div``, in the precision that NVTabular takes: float32 for float32, float64 for integers."""
        require_number(value, "Normalize")
        dtype = np.float32 if value.dtype == "float32" else np.float64
        number = value.name if value.dtype == "float32" else builder.add("Cast", value.name, to=FLOAT64)
        number = builder.add("Sub", number, builder.constant(self.mean, dtype))
        if self.std > 0:  # false for 0 and for NaN, as in NVTabular
            number = builder.add("Div", number, builder.constant(self.std, dtype))
        if dtype is np.float64:
            number = builder.add("Cast", number, to=FLOAT32)
        return value.becomes(number, "float32")


def read_normalize(applied: Applied) -> tuple[Standardize]:
    """Read NVTabular's ``Normalize``."""
    operator = applied.operator
    if applied.column not in operator.means:
        raise RunError(
            f"Feature column {applied.column!r}: its Normalize is not fitted.", "Fit the workflow before compiling it."
        )
    if np.dtype(operator.output_dtype) not in (np.float32, np.float64):
        raise applied.refuse(f"gives {np.dtype(operator.output_dtype).name}", "Use out_dtype='float32'.")
    return (Standardize(operator.means[applied.column], operator.stds[applied.column]),)
