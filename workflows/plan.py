"""The plan: what a fitted NVTabular workflow does, column by column, as small typed steps.

NVTabular runs a graph of nodes, each an operator over some columns. The plan turns it round: for each output column the raw column
that it starts from and the steps on the way. It is read from ``workflow.output_node`` and its parents, holds no NVTabular object,
and is what the back ends (``workflows.compile`` for ONNX) are written against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cartwheel.errors import NotCompilableError, RunError
from workflows.operators.step import Applied, Step
from workflows.operators.table import read_steps

_DTYPES: Final = {
    "str": "string",
    "object": "string",  # what pandas calls strings
    "int8": "int64",
    "int16": "int64",
    "int32": "int64",
    "int64": "int64",
    "float32": "float32",
    "float64": "float32",
}
"""Merlin's name of a raw type -> the plan's."""


@dataclass(frozen=True)
class RawColumn:
    """A column as it comes in: ``string``, ``int64`` or ``float32`` (NaN is null), or a list of such."""

    name: str
    dtype: str
    is_list: bool


@dataclass(frozen=True)
class ColumnPlan:
    """How one encoded column is made."""

    name: str
    source: RawColumn
    steps: tuple[Step, ...]


FeaturePlan = Mapping[str, ColumnPlan]
"""Encoded column -> how it is made, in the workflow's order."""


def read_plan(workflow: Any) -> dict[str, ColumnPlan]:
    """Read the graph of a fitted workflow.

    Args:
        workflow: an ``nvtabular.Workflow`` that is fitted, or loaded from where it was saved.

    Returns:
        One plan a column of the workflow's output.

    Raises:
        NotCompilableError: if an operator in the graph has no registered meaning.
        RunError: if the workflow is not fitted.
    """
    if workflow.output_schema is None:
        raise RunError("The workflow is not fitted.", "Fit it, or load it from where it was saved, before compiling it.")
    plans = {}
    for name in workflow.output_schema.column_names:
        source, steps = _trace(workflow.output_node, name)
        plans[name] = ColumnPlan(name, _raw(workflow.input_schema, source, name), steps)
    return plans


def _trace(node: Any, column: str) -> tuple[str, tuple[Step, ...]]:
    """Follow ``column`` from an output of ``node`` back to a raw column; return it and the steps on the way."""
    steps: tuple[Step, ...] = ()
    while True:
        sources = tuple(node.column_mapping.get(column, [column]))
        steps = read_steps(Applied(node.op, column, sources)) + steps
        makers = [parent for parent in node.parents_with_dependencies if sources[0] in parent.output_schema.column_names]
        if not makers:
            return sources[0], steps
        node, column = makers[-1], sources[0]  # of two makers of one name NVTabular keeps the later


def _raw(schema: Any, source: str, column: str) -> RawColumn:
    found = schema.get(source)
    stored = "unknown" if found is None else found.dtype.without_shape.name
    if stored not in _DTYPES:
        raise NotCompilableError(
            f"Feature column {column!r} starts from the raw column {source!r} of type {stored}.",
            "Give the workflow strings, integers or floats.",
        )
    return RawColumn(source, _DTYPES[stored], bool(found.is_list))
