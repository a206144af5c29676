"""Running a model's ONNX file, the artefact that gets served, over whole tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import MissingDependencyError, RunError

_TYPES: Final = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(int32)": np.int32}
_BATCH = 8192

Columns = Mapping[str, npt.NDArray[Any]]
"""Encoded columns by name: [B] scalars, or [B, L] padded lists."""


class OnnxModel:
    """A model with encoded columns as inputs and one output that is used.

    Args:
        path: the ONNX file.

    Raises:
        RunError: if the file is missing or ONNX Runtime refuses it.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:  # pragma: no cover - a base dependency
            raise MissingDependencyError(
                "The package onnxruntime is not installed.", "In the checkout, run `make install`, or `uv pip install .`."
            ) from error
        if not path.is_file():
            raise RunError(f"{path} is missing.", "Run `cartwheel train` on this run directory first.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no public base
            raise RunError(f"{path} is no ONNX model that runs: {error}", "Run `cartwheel train` again.") from error
        self.path = path
        self.inputs: dict[str, Any] = {value.name: _TYPES.get(value.type, np.float32) for value in self._session.get_inputs()}
        """Each input -> its numpy type."""
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
                f"{self.path} needs the encoded columns {lacking}, which the features do not hold.",
                "The model was trained on other features; run prepare and train again.",
            )

    def batch(self, columns: Columns, output: str | None = None) -> npt.NDArray[np.float32]:
        """Run one batch.

        Args:
            columns: [B] scalars and [B, L] lists, at least the model's inputs.
            output: name of the output; None takes the first.

        Returns:
            [B, D] float32.
        """
        self.check(columns)
        feeds = {name: _matrix(columns[name], dtype) for name, dtype in self.inputs.items()}
        return np.asarray(self._session.run([output or self.outputs[0]], feeds)[0], np.float32)

    def table(self, columns: Columns, output: str | None = None) -> npt.NDArray[np.float32]:
        """Run a whole table in batches of 8,192 rows, like ``batch``; an empty table gives [0, 0]."""
        self.check(columns)
        rows = min((len(columns[name]) for name in self.inputs), default=0)
        parts = [
            self.batch({name: columns[name][start : start + _BATCH] for name in self.inputs}, output)
            for start in range(0, rows, _BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _matrix(column: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    matrix = column if column.ndim > 1 else column[:, None]
    return np.ascontiguousarray(matrix, dtype=dtype)
