"""``Clip``: values beyond a bound become the bound, and NaN stays NaN."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cartwheel.errors import NotCompilableError
from workflows.onnx_graph import GraphBuilder
from workflows.operators.step import Applied, Value, require_number


@dataclass(frozen=True)
class Bounds:
    """Holds a column between ``low`` and ``high``; None is no bound."""

    low: float | None
    high: float | None

    def onnx(self, builder: GraphBuilder, value: Value) -> Value:
        """Add ``Less``/``Greater`` and ``Where``, which leave NaN alone (``Clip`` need not)."""
        require_number(value, "Clip")
        dtype = np.float32 if value.dtype == "float32" else np.int64
        for bound, beyond in ((self.low, "Less"), (self.high, "Greater")):
            if bound is None:
                continue
            if dtype is np.int64 and bound != int(bound):
                raise NotCompilableError(f"Clip holds an integer column at {bound}.", "Use a whole number as its bound.")
            limit = builder.constant(bound, dtype)
            value = value.becomes(builder.add("Where", builder.add(beyond, value.name, limit), limit, value.name))
        return value


def read_clip(applied: Applied) -> tuple[Bounds]:
    """Read NVTabular's ``Clip``."""
    return (Bounds(applied.operator.min_value, applied.operator.max_value),)
