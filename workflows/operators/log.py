"""``LogOp``: log(x + 1), NaN where x < -1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workflows.onnx_graph import GraphBuilder
from workflows.operators.step import FLOAT32, FLOAT64, Applied, Value, as_float32, require_number


@dataclass(frozen=True)
class LogPlusOne:
    """Takes log(x + 1) of x in float32."""

    def onnx(self, builder: GraphBuilder, value: Value) -> Value:
        """Add the sum in float32, as NVTabular does, and the logarithm in float64.

        ONNX Runtime's float32 ``Log`` gives a row another last bit in a batch of one than in a batch of many; its float64 ``Log``
        does not, and rounds to within one unit in the last place of NumPy's.
        """
        require_number(value, "LogOp")
        shifted = builder.add("Add", as_float32(builder, value), builder.constant(1.0, np.float32))
        logarithm = builder.add("Log", builder.add("Cast", shifted, to=FLOAT64))
        return value.becomes(builder.add("Cast", logarithm, to=FLOAT32), "float32")


def read_log(_: Applied) -> tuple[LogPlusOne]:
    """Read NVTabular's ``LogOp``, which has nothing fitted."""
    return (LogPlusOne(),)
