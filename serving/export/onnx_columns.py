"""A compiled feature graph, and how far rounding can move what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt

from cartwheel.core.onnx_model import OnnxModel
from workflows.compiler.onnx_graph import ENCODED_SUFFIX


class FeatureGraph(OnnxModel):
    """A feature graph of the run.

    Args:
        path: the ONNX file.

    Raises:
        RunError: if it is missing or does not load.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    @cached_property
    def offsets(self) -> dict[str, float]:
        """Column -> mean / std of the standardisation that ends its encoding, 0 where there is none.

        The subtraction of the mean starts from numbers of that size, so its rounding errors are relative to it.
        """
        return _read_offsets(self._path)

    def run_where_fed(self, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run if all inputs are among the columns, else return nothing: a table may lack a family of columns."""
        return self.run(columns) if all(name in columns for name in self.inputs) else {}


def _read_offsets(path: Path) -> dict[str, float]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}

    def number(name: str) -> float | None:
        held = producers.get(name)
        name = (
            held.input[1] if held is not None and held.op_type == "Where" else name
        )  # see operand in workflows/compiler/operators/step.py
        return float(numpy_helper.to_array(constants[name]).ravel()[0]) if name in constants else None

    def offset(name: str) -> float:
        node = producers.get(name)
        while node is not None and node.op_type in ("Identity", "Cast"):
            node = producers.get(node.input[0])
        if node is None or node.op_type != "Div":
            return 0.0
        centred, deviation = producers.get(node.input[0]), number(node.input[1])
        mean = number(centred.input[1]) if centred is not None and centred.op_type == "Sub" else None
        return abs(mean / deviation) if mean is not None and deviation else 0.0

    return {value.name.removesuffix(ENCODED_SUFFIX): offset(value.name) for value in graph.output}
