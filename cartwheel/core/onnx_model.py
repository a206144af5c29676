"""Running ONNX models, the artefacts that get served, on columns by name.

The one place that opens ONNX Runtime, but for ``serving/server/runner.py``, which Triton runs without Cartwheel.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import MissingDependencyError, RunError
from cartwheel.core.packages import INSTALL

_TYPES: Final[Mapping[str, Any]] = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(string)": object,
}
_BATCH = 8192

Columns = Mapping[str, npt.NDArray[Any]]
"""Columns by name: [B] scalars, or [B, L] padded lists."""


def open_session(source: Path | bytes, threads: int | None = None) -> Any:
    """Open a model in ONNX Runtime, on the CPU and without its warnings.

    Args:
        source: the ONNX file, or its content.
        threads: threads within an operator, operators one after another; None leaves both to ONNX Runtime.

    Raises:
        RunError: if the file is missing or ONNX Runtime refuses the model.
        MissingDependencyError: if ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:  # pragma: no cover - a base dependency
        raise MissingDependencyError("The package onnxruntime is not installed.", INSTALL.format("serve")) from error
    if isinstance(source, Path) and not source.is_file():
        raise RunError(f"{source} is missing.", "Run the earlier stages (`cartwheel prepare`, `cartwheel train`) first.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    model = str(source) if isinstance(source, Path) else source
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no public base
        name = source if isinstance(source, Path) else "The graph"
        raise RunError(f"{name} is not a valid ONNX model: {error}.", "Run the stage that writes it again.") from error


class OnnxModel:
    """A model that reads columns by name: a feature graph, or a trained model on encoded columns.

    Args:
        source: the ONNX file, or its content.

    Raises:
        RunError: if the file is missing or ONNX Runtime refuses the model.
    """

    def __init__(self, source: Path | bytes) -> None:
        self._session = open_session(source)
        self._name = str(source) if isinstance(source, Path) else "The graph"
        self.inputs: dict[str, Any] = {value.name: _TYPES.get(value.type, np.float32) for value in self._session.get_inputs()}
        """Each input -> its NumPy type."""
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]
        """Names of the outputs."""

    def check(self, columns: Columns) -> None:
        """Refuse columns that lack an input of the model.

        Raises:
            RunError: naming the model and the columns.
        """
        lacking = [name for name in self.inputs if name not in columns]
        if lacking:
            raise RunError(
                f"{self._name} needs the columns {lacking}, which are missing in the features.",
                "The model was trained on other features; run prepare and train again.",
            )

    def run(self, columns: Columns) -> dict[str, npt.NDArray[Any]]:
        """Run one batch and return all outputs by name.

        Args:
            columns: [B] scalars and [B, L] lists, at least the model's inputs.

        Raises:
            RunError: if an input is missing.
        """
        return dict(zip(self.outputs, self._run(columns, self.outputs), strict=True))

    def batch(self, columns: Columns, output: str | None = None) -> npt.NDArray[np.float32]:
        """Run one batch and return one output, [B, D] float32: the named one, or the first."""
        return np.asarray(self._run(columns, [output or self.outputs[0]])[0], np.float32)

    def table(self, columns: Columns, output: str | None = None) -> npt.NDArray[np.float32]:
        """Run a whole table in batches of 8,192 rows, like ``batch``; an empty table gives [0, 0]."""
        self.check(columns)
        rows = min((len(columns[name]) for name in self.inputs), default=0)
        parts = [
            self.batch({name: columns[name][start : start + _BATCH] for name in self.inputs}, output)
            for start in range(0, rows, _BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _run(self, columns: Columns, outputs: list[str]) -> list[npt.NDArray[Any]]:
        self.check(columns)
        feeds = {name: _matrix(columns[name], kind) for name, kind in self.inputs.items()}
        found: list[npt.NDArray[Any]] = self._session.run(outputs, feeds)
        return found


def _matrix(column: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    matrix = column if column.ndim > 1 else column[:, None]
    return np.ascontiguousarray(matrix, dtype=dtype)
