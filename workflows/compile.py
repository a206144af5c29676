"""The ONNX back end of the plan: the fitted feature graph as one small model that answers a request.

Each raw column is an input of its own name: strings ``[B,1]``, or ``[B,L]`` filled up with ``""`` for lists; floats ``[B,1]`` with NaN
for null; integers ``[B,1]`` int64. Each encoded column is an output named ``<column>__encoded`` of the same shape, int64 or float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from cartwheel.errors import NotCompilableError
from workflows.columns import ENCODED_SUFFIX
from workflows.onnx_graph import GraphBuilder, Shape
from workflows.operators.step import Value
from workflows.plan import FeaturePlan


def compile_onnx(plan: FeaturePlan, columns: Sequence[str], name: str) -> onnx.ModelProto:
    """Compile the part of a plan that makes ``columns``.

    Args:
        plan: the plan of a fitted workflow.
        columns: encoded columns wanted, in the order of the outputs.
        name: name of the graph.

    Returns:
        The checked model.

    Raises:
        NotCompilableError: if the plan has no such column, or a step has no ONNX form for its input.
    """
    builder = GraphBuilder(name)
    values: dict[str, Value] = {}
    for column in columns:
        if column not in plan:
            raise NotCompilableError(
                f"The workflow makes no column {column!r}; it makes {sorted(plan)}.", "Ask for those columns."
            )
        source = plan[column].source
        shape: Shape = ["B", "L"] if source.is_list else ["B", 1]
        if source.name not in values:
            values[source.name] = Value(builder.input(source.name, source.dtype, shape), source.dtype, source.is_list)
        value = values[source.name]
        for step in plan[column].steps:
            value = step.onnx(builder, value)
        builder.output(value.name, column + ENCODED_SUFFIX, value.dtype, shape)
    return builder.model()
