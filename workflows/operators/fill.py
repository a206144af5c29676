"""``FillMissing`` and ``FillMedian``: null (NaN) becomes a constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cartwheel.errors import RunError
from workflows.onnx_graph import GraphBuilder
from workflows.operators.step import Applied, Value, require_number

_NO_FLAGS = "Use add_binary_cols=False, and give the model a column of its own for 'was missing'."


@dataclass(frozen=True)
class Fill:
    """Replaces NaN by ``by``, rounded to float32; integers have no nulls and pass."""

    by: float

    def onnx(self, builder: GraphBuilder, value: Value) -> Value:
        """Add ``IsNaN`` and ``Where``."""
        require_number(value, "FillMissing")
        if value.dtype != "float32":
            return value
        missing = builder.add("IsNaN", value.name)
        return value.becomes(builder.add("Where", missing, builder.constant(self.by, np.float32), value.name))


def read_fill_missing(applied: Applied) -> tuple[Fill]:
    """Read NVTabular's ``FillMissing``."""
    if applied.operator.add_binary_cols:
        raise applied.refuse("adds columns that flag what was missing", _NO_FLAGS)
    try:
        return (Fill(float(applied.operator.fill_val)),)
    except (TypeError, ValueError):
        raise applied.refuse(
            f"fills with {applied.operator.fill_val!r}, which is no number", "Fill numbers; missing strings are the empty string."
        ) from None


def read_fill_median(applied: Applied) -> tuple[Fill]:
    """Read NVTabular's ``FillMedian``: whatever median it stored is used."""
    if applied.operator.add_binary_cols:
        raise applied.refuse("adds columns that flag what was missing", _NO_FLAGS)
    if applied.column not in applied.operator.medians:
        raise RunError(
            f"Feature column {applied.column!r}: its FillMedian is not fitted.", "Fit the workflow before compiling it."
        )
    return (Fill(applied.operator.medians[applied.column]),)
