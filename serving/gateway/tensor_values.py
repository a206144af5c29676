"""Tensors of a message, read and written whether their values stand in it raw or as numbers and texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.gateway.texts import texts_of

_FIELDS: Final = {"BYTES": "bytes_contents", "INT32": "int_contents", "INT64": "int64_contents", "FP32": "fp32_contents"}
_DTYPES: Final = {"INT32": "<i4", "INT64": "<i8", "FP32": "<f4"}


def add_tensor(message: Any, name: str, kind: str, values: npt.NDArray[Any], *, raw: bool) -> None:
    """Add an input to a request or an output to an answer.

    Args:
        message: ``ModelInferRequest`` or ``ModelInferResponse``.
        name: of the tensor.
        kind: ``BYTES``, ``INT32``, ``INT64`` or ``FP32``.
        values: of texts, bytes.
        raw: whether the message holds values as bytes.
    """
    is_request = hasattr(message, "inputs")
    tensor = (message.inputs if is_request else message.outputs).add(name=name, datatype=kind, shape=values.shape)
    if raw:
        content = wire(values.ravel().tolist()) if kind == "BYTES" else values.astype(_DTYPES[kind]).tobytes()
        (message.raw_input_contents if is_request else message.raw_output_contents).append(content)
    else:
        getattr(tensor.contents, _FIELDS[kind]).extend(values.ravel().tolist())


def take_tensor(request: Any, name: str) -> list[bytes] | None:
    """Take an input of texts out of a request, and return its values; None where there is none, or it cannot be read."""
    place = _place(request, name)
    if place is None:
        return None
    found = _texts(request, place)
    del request.inputs[place]
    if request.raw_input_contents:
        del request.raw_input_contents[place]
    return found if found is not None else []


def read_texts(request: Any, name: str) -> list[list[str]] | None:
    """Return the rows of an input of texts [B, N], without those that pad; None where there is none, or it cannot be read."""
    place = _place(request, name)
    if place is None:
        return None
    values, shape = _texts(request, place), list(request.inputs[place].shape)
    if values is None or len(shape) != 2 or min(shape) < 0 or math.prod(shape) != len(values):
        return None
    width = shape[1]
    return [
        [text.decode("utf-8", "replace") for text in values[row * width : (row + 1) * width] if text] for row in range(shape[0])
    ]


def read_ints(request: Any, name: str) -> list[int] | None:
    """Return the values of an input of 32-bit numbers; None where there is none, or it cannot be read."""
    place = _place(request, name)
    if place is None:
        return None
    if request.raw_input_contents:
        data = request.raw_input_contents[place] if place < len(request.raw_input_contents) else b""
        return np.frombuffer(data, "<i4").tolist() if data and len(data) % 4 == 0 else None
    return list(request.inputs[place].contents.int_contents)


def wire(texts: Sequence[bytes]) -> bytes:
    """Return texts as they go over the wire, each after its length in 4 bytes."""
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _place(request: Any, name: str) -> int | None:
    return next((place for place, tensor in enumerate(request.inputs) if tensor.name == name), None)


def _texts(request: Any, place: int) -> list[bytes] | None:
    if not request.raw_input_contents:
        return list(request.inputs[place].contents.bytes_contents)
    if place >= len(request.raw_input_contents):
        return None
    data = request.raw_input_contents[place]
    return texts_of(data) or (None if data else [])
