"""Requests and answers of KServe as tables: read from the wire, and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.gateway.texts import texts_of

Table = dict[str, npt.NDArray[Any]]
_NUMBERS: Final[Mapping[str, Any]] = {"INT64": np.int64, "INT32": np.int32, "FP32": np.float32, "BOOL": np.bool_}
_FIELDS: Final[Mapping[str, str]] = {
    "BYTES": "bytes_contents",
    "INT64": "int64_contents",
    "INT32": "int_contents",
    "FP32": "fp32_contents",
    "BOOL": "bool_contents",
}


def tables_of(tensors: Any, raws: Any) -> Table:
    """Return the tensors of a ``ModelInferRequest`` or ``ModelInferResponse`` by name; strings are text.

    Args:
        tensors: ``inputs`` or ``outputs`` of the message.
        raws: ``raw_input_contents`` or ``raw_output_contents``.
    """
    tables: Table = {}
    for place, tensor in enumerate(tensors):
        raw = raws[place] if place < len(raws) else None
        if tensor.datatype == "BYTES":
            texts = tensor.contents.bytes_contents if raw is None else texts_of(raw)
            values: npt.NDArray[Any] = np.array([text.decode("utf-8", "replace") for text in texts], dtype=object)
        elif raw is None:
            values = np.array(getattr(tensor.contents, _FIELDS[tensor.datatype]), dtype=_NUMBERS[tensor.datatype])
        else:
            values = np.frombuffer(raw, _NUMBERS[tensor.datatype])
        tables[tensor.name] = values.reshape(list(tensor.shape))
    return tables


def difference(expected: Table, found: Table, tolerance: float) -> tuple[float, str]:
    """Return the largest difference of a number, and the first thing that differs by more than is allowed, as a clause.

    Args:
        expected: one answer.
        found: the other.
        tolerance: allowed of a number x: ``tolerance * max(1, |x|)``; text and whole numbers must be equal.
    """
    largest, first = 0.0, ""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or name not in expected or found[name].shape != expected[name].shape:
            return largest, first or f"{name} has another shape"
        one, other = expected[name], found[name]
        if one.dtype.kind != "f":
            apart = one != other
            first = first or (_sentence(name, one, other, apart) if apart.any() else "")
            continue
        with np.errstate(invalid="ignore"):
            same = (one == other) | (np.isnan(one) & np.isnan(other))
            gaps = np.where(same, 0.0, np.abs(one.astype(np.float64) - other) / np.maximum(1.0, np.abs(one)))
        gaps = np.where(np.isnan(gaps), np.inf, gaps)
        largest = max(largest, float(gaps.max(initial=0.0)))
        first = first or (_sentence(name, one, other, gaps > tolerance) if (gaps > tolerance).any() else "")
    return largest, first


def _sentence(name: str, one: npt.NDArray[Any], other: npt.NDArray[Any], apart: npt.NDArray[np.bool_]) -> str:
    place = tuple(int(index) for index in np.argwhere(apart)[0])
    return f"{name}{list(place)} is {other[place]!r} instead of {one[place]!r}"
