"""Answers of another export to logged requests under its rules, computed in this process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import ValidationError
from tritonclient.grpc import InferResult, service_pb2

from cartwheel.core.errors import DataError
from serving.gateway.rulebook import Rulebook
from serving.gateway.tensor_values import add_tensor
from serving.gateway.visit import Visit
from serving.local import LocalRepository
from serving.rules.rules import Rules, ShopRules

_KINDS: Final = {"INT32": ("int_contents", "<i4"), "INT64": ("int64_contents", "<i8"), "FP32": ("fp32_contents", "<f4")}
_DATATYPES: Final = {"string": "BYTES", "int32": "INT32", "int64": "INT64", "float32": "FP32"}
_ENSEMBLE: Final = "recommend"


class Question(NamedTuple):
    """A logged request.

    Attributes:
        request: serialised ``ModelInferRequest`` with the shopper's events, base64.
        rules: of the request itself, as JSON; empty where it gave none.
        cart: what the store knew to be in the shopper's cart.
    """

    request: str
    rules: str = ""
    cart: tuple[str, ...] = ()


def lists_of(repository: Path, questions: Sequence[Question], shop: ShopRules) -> Iterator[list[str]]:
    """Yield the items that a repository answers to each question under the rules of the shop and its own.

    Inputs that this export does not know are left out: what an older or newer one took besides. Price, stock and availability are those
    of the export, for what a shop has set since is not logged.

    Raises:
        DataError: if a question cannot be read, or a rule cannot be honoured by this export.
        RunError: if there is no repository.
    """
    local = _Local(repository)
    book = Rulebook.of(repository, shop, int(local.repository.metadata["max_k"]))
    for number, question in enumerate(questions):
        try:
            request = local.known(base64.b64decode(question.request, validate=True))
            visit = Visit(
                "preview", ensemble=_ENSEMBLE, rules=Rules.model_validate_json(question.rules) if question.rules else None
            )
        except (ValueError, ValidationError, KeyError) as error:
            raise DataError(
                f"The request of exposure {number} cannot be read ({error}).", "Give a log of `cartwheel serve`."
            ) from error
        try:
            answer = asyncio.run(_answer(local, book, visit, request, question.cart))
        except Exception as error:
            raise DataError(
                f"The request of exposure {number} cannot be asked again ({error}).",
                "Give a log of `cartwheel serve` and its rules.",
            ) from error
        items = InferResult(service_pb2.ModelInferResponse.FromString(answer)).as_numpy("items")[0]
        yield [item.decode() for item in items.tolist()]


async def _answer(local: _Local, book: Rulebook | None, visit: Visit, request: bytes, cart: Sequence[str]) -> bytes:
    plan = None if book is None else book.plan(visit, request, [cart] if cart else ())
    return await (local.ask(request) if plan is None else plan.answer(local.ask, visit))


class _Local:
    """A repository that is asked as Triton is."""

    def __init__(self, path: Path) -> None:
        self.repository = LocalRepository(path)
        ensemble = next(each for each in self.repository.contract.ensembles if each.name == _ENSEMBLE)
        self._inputs = {tensor.name for tensor in ensemble.inputs}
        self._kinds = {tensor.name: _DATATYPES[tensor.dtype] for tensor in ensemble.outputs}

    def known(self, raw: bytes) -> bytes:
        """Return a request with the inputs that this export knows."""
        request = service_pb2.ModelInferRequest.FromString(raw)
        for place in reversed(range(len(request.inputs))):
            if request.inputs[place].name not in self._inputs:
                del request.inputs[place]
                if request.raw_input_contents:
                    del request.raw_input_contents[place]
        content: bytes = request.SerializeToString()
        return content

    async def ask(self, raw: bytes) -> bytes:
        """Return the serialised answer to a serialised request."""
        request = service_pb2.ModelInferRequest.FromString(raw)
        inputs = {tensor.name: _values(request, place) for place, tensor in enumerate(request.inputs)}
        answer = service_pb2.ModelInferResponse(model_name=_ENSEMBLE)
        for name, values in self.repository.ask(_ENSEMBLE, **inputs).items():
            kind = self._kinds[name]
            if kind == "BYTES":
                values = np.array([str(text).encode() for text in values.ravel()], dtype=object).reshape(values.shape)
            add_tensor(answer, name, kind, values, raw=True)
        content: bytes = answer.SerializeToString()
        return content


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
