"""What another export would have answered to logged requests, computed in this process."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2

from cartwheel.core.errors import DataError
from serving.local import LocalRepository

_KINDS: Final = {"INT32": ("int_contents", "<i4"), "INT64": ("int64_contents", "<i8"), "FP32": ("fp32_contents", "<f4")}
_ENSEMBLE: Final = "recommend"


def lists_of(repository: Path, requests: Sequence[str]) -> Iterator[list[str]]:
    """Yield the items that a repository answers to each request, given as the log of exposures holds it.

    Inputs that this export does not know are left out: what an older or newer one took besides.

    Raises:
        DataError: if a request cannot be read.
        RunError: if there is no repository.
    """
    asked = LocalRepository(repository)
    known = {tensor.name for ensemble in asked.contract.ensembles if ensemble.name == _ENSEMBLE for tensor in ensemble.inputs}
    for number, text in enumerate(requests):
        try:
            request = service_pb2.ModelInferRequest.FromString(base64.b64decode(text, validate=True))
            inputs = {tensor.name: _values(request, place) for place, tensor in enumerate(request.inputs) if tensor.name in known}
        except Exception as error:
            raise DataError(
                f"The request of exposure {number} cannot be read ({error}).", "Give a log of `cartwheel serve`."
            ) from error
        items = asked.ask(_ENSEMBLE, **inputs)["items"][0]
        yield [item if isinstance(item, str) else item.decode() for item in items.tolist()]


def _values(request: Any, place: int) -> Any:
    tensor = request.inputs[place]
    shape = tuple(tensor.shape)
    raw = request.raw_input_contents[place] if request.raw_input_contents else None
    if tensor.datatype == "BYTES":
        texts = list(tensor.contents.bytes_contents) if raw is None else list(_texts(raw))
        return np.array([text.decode() for text in texts], dtype=object).reshape(shape)
    field, dtype = _KINDS[tensor.datatype]
    values = np.array(getattr(tensor.contents, field), dtype) if raw is None else np.frombuffer(raw, dtype)
    return values.reshape(shape)


def _texts(raw: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "little")
        yield raw[place + 4 : place + 4 + length]
        place += 4 + length
