"""KServe v2 over REST: the protocol of ``/v2`` with JSON tensors, and with binary ones behind the JSON as Triton's clients send them.

A request becomes the message that the same question over gRPC is, and passes all that one passes. Numbers that JSON does not know, such as
the score of a place that holds no item, are null. https://github.com/kserve/open-inference-protocol, extension_binary_data of Triton.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any, Final, NamedTuple

import numpy as np
from fastapi import FastAPI, Request, Response
from google.protobuf.json_format import MessageToDict
from grpc import aio
from tritonclient.grpc import service_pb2

import cartwheel
from serving.gateway.kserve import KServe
from serving.gateway.refusal import RefusedError, invalid
from serving.gateway.rpc import failed
from serving.gateway.tensor_values import wire
from serving.gateway.texts import texts_of
from serving.gateway.visit import REQUEST_ID, Visit

DOOR: Final = "kserve_rest"
MODELS: Final = "/v2/models/"
"""Where the paths of models begin, which want a key."""
HEADER_LENGTH: Final = "inference-header-content-length"
_DTYPES: Final = {"FP32": "<f4", "INT32": "<i4", "INT64": "<i8"}
_RANGES: Final = {"INT32": 2**31, "INT64": 2**63}
_BINARY, _BINARY_SIZE, _BINARY_OUTPUT = "binary_data", "binary_data_size", "binary_data_output"
_SEE: Final = "see docs/tensors.md"
_MOST_MILLISECONDS: Final = 3_600_000


class Answered(NamedTuple):
    """Which outputs go behind the JSON rather than into it."""

    every: bool
    named: frozenset[str]

    def is_binary(self, name: str) -> bool:
        """Whether an output does."""
        return self.every or name in self.named


class Rest:
    """The paths of ``/v2``.

    Args:
        kserve: answers what the paths ask.
        visit_of: gives the visit of a scope; every path below ``/v2/models/`` has one.
        refuse: makes the answer of a request that ends without one.
    """

    def __init__(
        self,
        kserve: KServe,
        visit_of: Callable[[MutableMapping[str, Any]], Visit],
        refuse: Callable[[Visit, RefusedError | aio.AioRpcError], Response],
    ) -> None:
        self._kserve, self._visit_of, self._refuse = kserve, visit_of, refuse

    def add_to(self, app: FastAPI) -> None:
        """Add the paths, which the protocol itself describes and so the page of this application does not."""
        for path in (f"{MODELS}{{model}}", f"{MODELS}{{model}}/versions/{{version}}"):
            app.add_api_route(f"{path}/infer", self._infer, methods=["POST"], include_in_schema=False)
            app.add_api_route(f"{path}/ready", self._model_ready, include_in_schema=False)
            app.add_api_route(f"{path}/config", self._about("ModelConfig"), include_in_schema=False)
            app.add_api_route(path, self._about("ModelMetadata"), include_in_schema=False)
        app.add_api_route("/v2", self._server, include_in_schema=False)
        app.add_api_route("/v2/health/live", self._live, include_in_schema=False)
        app.add_api_route("/v2/health/ready", self._server_ready, include_in_schema=False)

    async def _infer(self, model: str, request: Request, version: str = "") -> Response:
        visit = self._visit_of(request.scope)
        try:
            content, binary = parted(await request.body(), request.headers.get(HEADER_LENGTH))
            asked, wanted = message_of(content, binary, model, version)
            if asked.id:
                visit.request_id = request.headers.get(REQUEST_ID, "") and visit.request_id
                visit.name(asked.id)
            raw = asked.SerializeToString()
            answer = await self._kserve.infer(visit, asked, raw, _seconds(request))
        except (RefusedError, aio.AioRpcError) as error:
            return self._refuse(visit, error)
        body, length = told(service_pb2.ModelInferResponse.FromString(answer), wanted)
        headers = {REQUEST_ID: visit.request_id} | ({HEADER_LENGTH: str(length)} if length != len(body) else {})
        kind = "application/json" if length == len(body) else "application/octet-stream"
        return Response(body, 200, headers, media_type=kind)

    def _about(self, method: str) -> Callable[..., Awaitable[Response]]:
        asked, answered = {
            "ModelMetadata": (service_pb2.ModelMetadataRequest, service_pb2.ModelMetadataResponse),
            "ModelConfig": (service_pb2.ModelConfigRequest, service_pb2.ModelConfigResponse),
        }[method]

        async def about(model: str, request: Request, version: str = "") -> Response:
            visit = self._visit_of(request.scope)
            try:
                found = answered.FromString(await self._kserve.look_up(method, asked, model, version))
            except (RefusedError, aio.AioRpcError) as error:
                failed(visit, error)
                return self._refuse(visit, error)
            return _json(_plain(found.config if method == "ModelConfig" else found))

        return about

    async def _model_ready(self, model: str, request: Request, version: str = "") -> Response:
        try:
            return _json({"name": model, "ready": True}, 200 if await self._kserve.ready(model, version) else 503)
        except RefusedError as error:
            return self._refuse(self._visit_of(request.scope), error)

    async def _server_ready(self) -> Response:
        is_ready = await self._kserve.ready()
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    async def _live(self) -> Response:
        return _json({"live": True})

    async def _server(self) -> Response:
        return _json({"name": "cartwheel", "version": cartwheel.__version__, "extensions": ["binary_tensor_data"]})


def parted(body: bytes, length: str | None) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object of a body, and the bytes behind it.

    Args:
        body: of the request.
        length: of the JSON, as the header has it; None where nothing stands behind it.

    Raises:
        RefusedError: if it is none.
    """
    if length is not None and not (length.isascii() and length.isdigit() and int(length) <= len(body)):
        raise invalid(
            f"The header {HEADER_LENGTH} is {length!r}; give the bytes of the JSON, of which the body has {len(body):,}."
        )
    end = len(body) if length is None else int(length)
    try:
        content = json.loads(body[:end])
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise invalid("The body is no JSON object that can be read; give inputs as KServe v2 has them.")
    return content, body[end:]


def message_of(content: Mapping[str, Any], binary: bytes, model: str, version: str) -> tuple[Any, Answered]:
    """Return the ``ModelInferRequest`` that a request over REST is, and how it is to be answered.

    Raises:
        RefusedError: naming the first field that is wrong.
    """
    unknown = sorted(content.keys() - {"id", "parameters", "inputs", "outputs"})
    if unknown:
        raise invalid(f"{unknown[0]} is no field of a request; give id, parameters, inputs and outputs.")
    name = content.get("id", "")
    if not isinstance(name, str):
        raise invalid(f"id is {_shown(name)}; give a text.")
    asked = service_pb2.ModelInferRequest(model_name=model, model_version=version, id=name)
    parameters = _object(content.get("parameters", {}), "parameters")
    every = parameters.pop(_BINARY_OUTPUT, False) is True
    for key, value in parameters.items():
        _set_parameter(asked.parameters, f"parameters.{key}", key, value)
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise invalid(f"inputs is {_shown(inputs)}; give a list of tensors, {_SEE}.")
    place = 0
    for number, given in enumerate(inputs):
        place = _add_input(asked, _object(given, f"inputs[{number}]"), f"inputs[{number}]", binary, place)
    if place != len(binary):
        raise invalid(f"{len(binary) - place:,} bytes stand behind the JSON that are of no input; say {_BINARY_SIZE} of each.")
    return asked, Answered(every, _add_outputs(asked, content.get("outputs", [])))


def _add_outputs(asked: Any, outputs: Any) -> frozenset[str]:
    """Add the wanted outputs to a request, and return which of them go behind the JSON."""
    named = set()
    if not isinstance(outputs, list):
        raise invalid(f"outputs is {_shown(outputs)}; give a list of tensors, or leave it out.")
    for number, given in enumerate(outputs):
        output = _object(given, f"outputs[{number}]")
        wanted = _text(output.get("name"), f"outputs[{number}].name")
        own = _object(output.get("parameters", {}), f"outputs[{number}].parameters")
        if own.pop(_BINARY, False) is True:
            named.add(wanted)
        tensor = asked.outputs.add(name=wanted)
        for key, value in own.items():
            _set_parameter(tensor.parameters, f"outputs[{number}].parameters.{key}", key, value)
    return frozenset(named)


def told(answer: Any, wanted: Answered) -> tuple[bytes, int]:
    """Return the body of an answer, and how many bytes of it are JSON."""
    outputs, behind = [], []
    for place, output in enumerate(answer.outputs):
        raw = answer.raw_output_contents[place]
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if wanted.is_binary(output.name):
            tensor["parameters"] = {_BINARY_SIZE: len(raw)}
            behind.append(raw)
        else:
            tensor["data"] = list(_values(raw, output.datatype))
        outputs.append(tensor)
    parameters = {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in answer.parameters.items()}
    content = {
        "model_name": answer.model_name,
        "model_version": answer.model_version,
        **({"id": answer.id} if answer.id else {}),
        "parameters": parameters,
        "outputs": outputs,
    }
    text = json.dumps(content, ensure_ascii=False).encode()
    return text + b"".join(behind), len(text)


def _values(raw: bytes, datatype: str) -> Iterator[Any]:
    if datatype == "BYTES":
        yield from (text.decode("utf-8", "replace") for text in texts_of(raw))
    else:
        for value in np.frombuffer(raw, _DTYPES[datatype]).tolist():
            yield value if math.isfinite(value) else None


def _add_input(asked: Any, given: dict[str, Any], where: str, binary: bytes, place: int) -> int:
    """Add an input to a request, and return where the bytes of the next one begin."""
    name, kind = _text(given.get("name"), f"{where}.name"), given.get("datatype")
    if kind not in (*_DTYPES, "BYTES"):
        raise invalid(f"{where}.datatype is {_shown(kind)}; give {', '.join((*_DTYPES, 'BYTES'))}, {_SEE}.")
    shape = given.get("shape")
    if not (isinstance(shape, list) and all(type(size) is int and 0 <= size < 2**31 for size in shape)):
        raise invalid(f"{where}.shape is {_shown(shape)}; give a list of sizes.")
    parameters = _object(given.get("parameters", {}), f"{where}.parameters")
    size = parameters.pop(_BINARY_SIZE, None)
    tensor = asked.inputs.add(name=name, datatype=kind, shape=shape)
    for key, value in parameters.items():
        _set_parameter(tensor.parameters, f"{where}.parameters.{key}", key, value)
    if size is None:
        asked.raw_input_contents.append(_content(given.get("data"), str(kind), math.prod(shape), where))
        return place
    if type(size) is not int or not 0 <= size <= len(binary) - place:
        left = len(binary) - place
        raise invalid(f"{where}.parameters.{_BINARY_SIZE} is {_shown(size)}, and {left:,} bytes are left behind the JSON.")
    asked.raw_input_contents.append(binary[place : place + size])
    return place + size


def _content(data: Any, kind: str, count: int, where: str) -> bytes:
    """Return the bytes of JSON values, which may lie in lists of lists."""
    values = list(_flat(data)) if isinstance(data, list) else None
    if values is None or len(values) != count:
        found = _shown(data) if values is None else f"{len(values):,} values"
        raise invalid(f"{where}.data is {found}; give the {count:,} values of its shape.")
    if kind == "BYTES":
        return wire([_encoded(value, where) for value in values])
    for value in values:
        good = type(value) is int if kind in _RANGES else type(value) in (int, float)
        if not good or (kind in _RANGES and not -_RANGES[kind] <= value < _RANGES[kind]):
            raise invalid(f"{where}.data holds {_shown(value)}; give numbers of {kind}.")
    try:
        with np.errstate(over="ignore"):
            return np.array(values, np.float64 if kind == "FP32" else np.int64).astype(_DTYPES[kind]).tobytes()
    except OverflowError:
        raise invalid(f"{where}.data holds a number that is too large for {kind}.") from None


def _encoded(value: Any, where: str) -> bytes:
    if not isinstance(value, str):
        raise invalid(f"{where}.data holds {_shown(value)}; give texts.")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise invalid(f"{where}.data holds {_shown(value)}, which is no text of Unicode.") from None


def _flat(values: list[Any]) -> Iterator[Any]:
    left = [iter(values)]
    while left:
        for value in left[-1]:
            if isinstance(value, list):
                left.append(iter(value))
                break
            yield value
        else:
            left.pop()


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"{where} is {_shown(value)}; give a JSON object.")
    return dict(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or any(0xD800 <= ord(letter) < 0xE000 for letter in value):
        raise invalid(f"{where} is {_shown(value)}; give a name.")
    return value


def _set_parameter(parameters: Any, where: str, key: str, value: Any) -> None:
    """Set a parameter as gRPC has it; which of them are taken is said where that is read."""
    try:
        if isinstance(value, bool):
            parameters[key].bool_param = value
        elif isinstance(value, int):
            parameters[key].int64_param = value
        elif isinstance(value, float):
            parameters[key].double_param = value
        else:
            parameters[key].string_param = value
    except (TypeError, ValueError):
        raise invalid(f"{_shown(where)} is {_shown(value)}; give a text, a whole number or a truth value.", "parameter") from None


def _seconds(request: Request) -> float | None:
    text = request.headers.get("x-timeout-ms")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST_MILLISECONDS):
        raise invalid(f"The header x-timeout-ms is {text!r}; give 1 to {_MOST_MILLISECONDS:,}.")
    return int(text) / 1000


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _plain(message: Any) -> dict[str, Any]:
    """Return a message as JSON values, with whole numbers for the sizes that protobuf writes as texts."""
    content: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    for tensors, sizes in (("inputs", "shape"), ("outputs", "shape"), ("input", "dims"), ("output", "dims")):
        for tensor in content.get(tensors, ()):
            tensor[sizes] = [int(size) for size in tensor.get(sizes, ())]
    return content


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")
