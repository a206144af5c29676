"""The ONNX back end of the plan: the fitted feature graph as one small model that answers a request.

Each raw column is an input of its own name, ``[B, 1]``, or ``[B, L]`` for lists. Each encoded column is an output named
``<column>__encoded`` of the same kind. Null is NaN in floats. For other types that may be null there is a second, optional input
``<column>__missing`` (bool, of the same shape; all false where it is not given) and a second output ``<column>__encoded__missing`` where
a null can come out. For lists of unequal length there is a second, optional input ``<column>__lengths`` (int64 ``[B, 1]``; L where it is
not given), and a second output ``<column>__encoded__lengths``; what lies beyond a list's end comes out as 0 or ``""``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import onnx

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import ENCODED_SUFFIX, GraphBuilder, Shape
from workflows.compiler.operators.described import described
from workflows.compiler.operators.step import Value
from workflows.compiler.plan.graph import Node, Plan

MISSING_SUFFIX: Final = "__missing"
LENGTHS_SUFFIX: Final = "__lengths"
LISTS: Final = "lists"
"""Metadata of the model: the inputs and outputs that are lists, as JSON. Their shapes do not tell: a list may be of one element."""

_ENDLESS: Final = np.iinfo(np.int64).max


def compile_onnx(
    plan: Plan, columns: Sequence[str], name: str, *, nullable: Collection[str] = (), ragged: Collection[str] = ()
) -> onnx.ModelProto:
    """Compile the part of a plan that makes ``columns``.

    Args:
        plan: the plan of a fitted workflow.
        columns: encoded columns wanted, in the order of the outputs.
        name: name of the graph.
        nullable: raw columns, not floats, that may be null in a request.
        ragged: raw list columns whose rows may be of unequal length in one request.

    Returns:
        The checked model.

    Raises:
        NotCompilableError: if the plan has no such column, drops rows on the way, or a step has no ONNX form.
    """
    builder = GraphBuilder(name)
    values: dict[int, Value] = {}
    for place in _inputs_first(plan, columns):
        node = plan.nodes[place]
        if node.rows:
            raise NotCompilableError(
                f"Feature column {node.name!r} comes after {described(plan.filters[node.rows - 1].step)}, which drops rows; a request "
                "is answered for each of its rows.",
                "Put what drops rows into a workflow of its own that is run on tables alone.",
            )
        if node.step is None:
            values[place] = _input(builder, node, node.name in nullable, node.name in ragged)
        else:
            values[place] = _step(builder, node, [values[source] for source in node.inputs])
    for column in columns:
        _output(builder, column, values[plan.place(column)])
    lists = [node.name for place, node in enumerate(plan.nodes) if place in values and node.is_raw and node.type.is_list]
    lists += [column + ENCODED_SUFFIX for column in columns if plan.type(column).is_list]
    return builder.model({LISTS: json.dumps(lists)})


def _inputs_first(plan: Plan, columns: Sequence[str]) -> list[int]:
    """Return the places that ``columns`` need: the raw columns in the order of the columns made from them, then the rest in theirs."""
    needed = {place: None for column in columns for place in plan.needed([plan.place(column)])}
    return [place for place in needed if plan.nodes[place].is_raw] + sorted(p for p in needed if not plan.nodes[p].is_raw)


def _shape(value: Value, column: str) -> Shape:
    """Return the shape under which a column enters or leaves; each column's lists have a width of their own."""
    return ["B", f"L_{column}"] if value.type.is_list else ["B", 1]


def _input(builder: GraphBuilder, node: Node, nullable: bool, ragged: bool) -> Value:
    """Declare a raw column.

    What may be left out has sizes with names of their own, as the default's are 1: ONNX Runtime takes sizes of one name for equal.
    """
    value = Value(node.name, node.type)
    builder.input(node.name, node.type.dtype, _shape(value, node.name))
    if nullable and not node.type.is_float:
        name = node.name + MISSING_SUFFIX
        shape: Shape = [f"{name}_rows", f"{name}_slots" if value.type.is_list else 1]
        missing = builder.input(name, "bool", shape, np.zeros((1, 1), dtype=bool))
        value = value.becomes(value.name, missing=missing)
    if ragged and node.type.is_list:
        name = node.name + LENGTHS_SUFFIX
        given = builder.input(name, "int64", [f"{name}_rows", 1], np.full((1, 1), _ENDLESS))
        width = builder.add("Shape", node.name, start=1, end=2)
        value = value.becomes(value.name, lengths=builder.add("Min", given, width))
    return value


def _step(builder: GraphBuilder, node: Node, inputs: Sequence[Value]) -> Value:
    assert node.step is not None
    try:
        value = node.step.onnx(builder, inputs)
    except NotCompilableError as error:
        raise NotCompilableError(f"Feature column {node.name!r}: {error.found}", error.fix) from error
    assert value.type == node.type, f"{described(node.step)} promised {node.type} and made {value.type}"
    return value


def _output(builder: GraphBuilder, column: str, value: Value) -> None:
    name = column + ENCODED_SUFFIX
    result = value.name
    if value.lengths is not None:
        blank = builder.constant("") if value.type.is_string else builder.constant(0, value.type.numpy)
        result = builder.where(inside(builder, value), result, blank, value.type.dtype)
    builder.output(result, name, value.type.dtype, _shape(value, column))
    if value.missing is not None:
        missing = builder.add("Expand", value.missing, builder.add("Shape", value.name))
        if value.lengths is not None:
            missing = builder.add("And", missing, inside(builder, value))
        builder.output(missing, name + MISSING_SUFFIX, "bool", _shape(value, column))
    if value.lengths is not None:
        rows = builder.add("Concat", builder.add("Shape", value.name, start=0, end=1), builder.constant([1], np.int64), axis=0)
        builder.output(builder.add("Expand", value.lengths, rows), name + LENGTHS_SUFFIX, "int64", ["B", 1])


def inside(builder: GraphBuilder, value: Value) -> str:
    """Return a bool ``[B, L]`` that is true in the slots of a list that are elements; ``value.lengths`` must be known."""
    assert value.lengths is not None
    slots = builder.add(
        "Range",
        builder.constant(0, np.int64),
        builder.add("Squeeze", builder.add("Shape", value.name, start=1, end=2)),
        builder.constant(1, np.int64),
    )
    return builder.add("Less", slots, value.lengths)
