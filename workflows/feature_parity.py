"""Compares the compiled feature graph with NVTabular, and makes the compiled graph's inputs out of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl

from cartwheel.errors import ParityError
from workflows.columns import ENCODED_SUFFIX
from workflows.operators.normalize import Standardize
from workflows.plan import FeaturePlan

TOLERANCE: Final = 1e-6


def onnx_feeds(frame: pl.DataFrame, columns: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Turn raw features into the inputs of a compiled feature graph.

    Args:
        frame: rows of raw features.
        columns: raw columns that the graph reads.

    Returns:
        Column -> ``[B, 1]`` of object (strings), int64 or float32 with NaN for null; lists ``[B, L]`` filled up with ``""``, L at least 1.
    """
    feeds: dict[str, npt.NDArray[Any]] = {}
    for column in columns:
        dtype = frame.schema[column]
        if isinstance(dtype, pl.List):
            rows = frame[column].to_list()
            padded = np.full((len(rows), max([1, *map(len, rows)])), "", dtype=object)
            for row, values in enumerate(rows):
                padded[row, : len(values)] = values
            feeds[column] = padded
        elif dtype == pl.String:
            feeds[column] = np.array(frame[column].to_list(), dtype=object).reshape(-1, 1)
        else:
            kind = np.int64 if dtype.is_integer() else np.float32
            feeds[column] = frame[column].to_numpy().astype(kind).reshape(-1, 1)
    return feeds


def check_parity(model: onnx.ModelProto, plan: FeaturePlan, raw: pl.DataFrame, encoded: pl.DataFrame) -> None:
    """Run a compiled feature graph and compare it with what NVTabular made of the same rows.

    Integers must be equal. Floats must be within 1e-6, relative to the largest number on the way (1, the result, or mean / std, from
    which the subtraction of the mean starts).

    Args:
        model: a compiled feature graph.
        plan: the plan that it was compiled from.
        raw: rows of raw features.
        encoded: the same rows, encoded by NVTabular.

    Raises:
        ParityError: naming the column, the row and both values.
    """
    import onnxruntime

    if not raw.height:
        return
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [value.name for value in session.get_outputs()]
    answers = session.run(outputs, onnx_feeds(raw, [value.name for value in session.get_inputs()]))
    for name, answer in zip(outputs, answers, strict=True):
        column = name.removesuffix(ENCODED_SUFFIX)
        expected = _padded(encoded[column], answer.shape[1])
        allowed = _allowed(plan, column, expected) if answer.dtype == np.float32 else np.zeros(answer.shape)
        with np.errstate(invalid="ignore"):  # inf - inf
            agree = (answer == expected) | (np.abs(answer - expected) <= allowed) | (np.isnan(answer) & np.isnan(expected))
        if not agree.all():
            row, place = (int(index) for index in np.argwhere(~agree)[0])
            raise ParityError(
                f"Encoded column {column!r}, row {row}: ONNX gives {answer[row, place]}, NVTabular {expected[row, place]} "
                f"for the raw value {raw[plan[column].source.name][row]!r}.",
                "This is a defect of the compiled feature graph; report it with the workflow folder.",
            )


def _padded(values: pl.Series, width: int) -> npt.NDArray[Any]:
    if not isinstance(values.dtype, pl.List):
        return values.to_numpy().reshape(-1, 1)
    padded = np.zeros((len(values), width), dtype=np.int64)
    for row, ids in enumerate(values.to_list()):
        padded[row, : len(ids)] = ids
    return padded


def _allowed(plan: FeaturePlan, column: str, expected: npt.NDArray[Any]) -> npt.NDArray[Any]:
    offsets = [abs(step.mean) / step.std for step in plan[column].steps if isinstance(step, Standardize) and step.std > 0]
    allowed: npt.NDArray[Any] = TOLERANCE * np.maximum(
        np.abs(np.nan_to_num(expected, posinf=0.0, neginf=0.0)), max([1.0, *offsets])
    )
    return allowed
