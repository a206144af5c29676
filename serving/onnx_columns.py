"""Runs an ONNX model that reads columns by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from workflows.columns import ENCODED_SUFFIX

_TYPES: Final[Mapping[str, Any]] = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(string)": object}


class ColumnModel:
    """A feature graph or model of the run.

    Args:
        path: the ONNX file.

    Raises:
        RunError: if it is missing or does not load.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no public base
            raise RunError(f"{path} does not load: {error}.", "Run the stage that writes it again.") from error
        self._path = path
        self._offsets: dict[str, float] | None = None
        self.inputs: dict[str, Any] = {value.name: _TYPES[value.type] for value in self._session.get_inputs()}
        """Each input -> its NumPy type."""

    def run(self, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run on columns [rows, width] and return the outputs by name.

        Raises:
            RunError: if a column is missing.
        """
        missing = [name for name in self.inputs if name not in columns]
        if missing:
            raise RunError(f"{self._path} reads the columns {missing}, which are not there.", "Run the earlier stages again.")
        names = [value.name for value in self._session.get_outputs()]
        values = self._session.run(names, {name: columns[name] for name in self.inputs})
        return dict(zip(names, values, strict=True))

    @property
    def offsets(self) -> dict[str, float]:
        """Column -> mean / std of the standardisation that ends its encoding, 0 where there is none.

        The subtraction of the mean starts from numbers of that size, so its rounding errors are relative to it.
        """
        if self._offsets is None:
            self._offsets = _read_offsets(self._path)
        return self._offsets

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
        )  # see operand in workflows/operators/step.py
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
