"""In how large a table a model looks its ids up: by its graph, so that a vocabulary that has outgrown it is found before it is served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import onnx

from models.foreign.interface import VALUES, ModelInput

_CARRIES: Final = frozenset(
    {"Cast", "Compress", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unique", "Unsqueeze"}
)
"""Operators whose first output holds the values of their first input, and no others."""


def with_embeddings(inputs: Sequence[ModelInput], graph: onnx.ModelProto) -> tuple[ModelInput, ...]:
    """Return the inputs with the rows of the smallest table in which each is looked up."""
    found = []
    for each in inputs:
        tensor = each.name + VALUES if each.form == "ragged" else each.name
        sizes = list(_tables(tensor, graph.graph)) if "int" in each.dtype else []
        found.append(replace(each, embedding=min(sizes, default=0)))
    return tuple(found)


def _tables(tensor: str, graph: Any) -> Iterator[int]:
    """Yield the rows of the tables that are gathered from by ``tensor``, or by what only carries its values on."""
    rows = {initializer.name: initializer.dims[0] for initializer in graph.initializer if len(initializer.dims) > 1}
    for node in graph.node:  # in an order in which inputs come first
        if node.op_type == "Identity" and node.input[0] in rows:
            rows[node.output[0]] = rows[node.input[0]]
    carried = {tensor}
    for node in graph.node:
        if node.op_type in _CARRIES and node.input and node.input[0] in carried:
            carried.add(node.output[0])
        elif node.op_type == "Gather" and node.input[1] in carried and node.input[0] in rows:
            yield rows[node.input[0]]
