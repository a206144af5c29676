"""KServe v2 over gRPC: what is public is passed on as it came, byte for byte, and everything else is closed.

A request is read only as far as it must be checked. Where it bears no parameters, Triton gets the very bytes of the caller; the answer
is Triton's, with parameters put behind it, for a protobuf message that is followed by another of its kind is both merged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
from grpc import aio
from pydantic import ValidationError
from tritonclient.grpc import model_config_pb2, service_pb2

import cartwheel
from serving.contract.tensors import GATEWAYS_OWN
from serving.gateway.gate import Gate
from serving.gateway.ladder import ENSEMBLE, RUNGS
from serving.gateway.refusal import Code, RefusedError, invalid, wrong_rules
from serving.gateway.rpc import abort, parsed
from serving.gateway.rulebook import ENSEMBLES as RULED
from serving.gateway.rulebook import refused_own
from serving.gateway.served import Public, Served
from serving.gateway.tensor_values import take_tensor
from serving.gateway.texts import users_of
from serving.gateway.upstream import SERVICE
from serving.gateway.visit import RANKED, Visit
from serving.rules.rules import Rules

DOOR: Final = "kserve"
_VERSIONS: Final = ("", "1")
AS_RECORDED: Final = "as_recorded"
"""The parameter by which an operator asks a recorded request again: it goes to Triton as it is, without stored events and rules."""
_LADDER, _PRIORITY, _TIMEOUT = "ladder", "priority", "timeout"
_ALLOWED: Final = (_LADDER, AS_RECORDED, _PRIORITY, _TIMEOUT)
"""Parameters of a request that any client may set; Triton gets none of them."""
_TOO_MANY_ROWS: Final = "The input {name!r} has {found:,} rows; this server answers at most {limit:,} at once (serve.max_rows)."
_TOO_WIDE: Final = "The input {name!r} has lists of {found:,}; this server reads at most {limit:,} ({setting})."
_CLOSED: Final = "{method} is closed: the gateway takes ModelInfer, ModelMetadata, ModelConfig and ModelReady, and nothing else."
RULES: Final = "rules"
"""An input of texts [1] that the gateway takes itself: rules as JSON, as the body of ``POST /v1/recommend`` has them."""
_DECLARED: Final = {
    "ModelMetadata": service_pb2.ModelMetadataResponse(
        inputs=[service_pb2.ModelMetadataResponse.TensorMetadata(name=RULES, datatype="BYTES", shape=[1])]
    ).SerializeToString(),
    "ModelConfig": service_pb2.ModelConfigResponse(
        config=model_config_pb2.ModelConfig(
            input=[model_config_pb2.ModelInput(name=RULES, data_type="TYPE_STRING", dims=[1], optional=True)]
        )
    ).SerializeToString(),
}
"""What, put behind Triton's answer, declares that input: a message that is followed by another of its kind is both merged."""
Context = Any


class KServe(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers ``inference.GRPCInferenceService``.

    Args:
        gate: what every request passes.
        is_ready: whether Triton answers.
    """

    def __init__(self, gate: Gate, is_ready: Callable[[], Awaitable[bool]]) -> None:
        self._gate, self._is_ready = gate, is_ready
        self._versions: dict[str, bytes] = {}
        self._rungs = {(ENSEMBLE, rung): _parameters({"rung": rung}) for rung in (RANKED, *RUNGS)}
        methods: Mapping[str, Callable[[bytes, Context], Awaitable[bytes]]] = {
            "ModelInfer": self._infer,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._looked_up("ModelMetadata", service_pb2.ModelMetadataRequest),
            "ModelConfig": self._looked_up("ModelConfig", service_pb2.ModelConfigRequest),
            "ServerLive": _live,
            "ServerReady": self._server_ready,
            "ServerMetadata": _server_metadata,
        }
        self._handlers = {f"{SERVICE}{name}": grpc.unary_unary_rpc_method_handler(call) for name, call in methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return what answers a method; None for those of other services."""
        method: str = handler_call_details.method
        if (found := self._handlers.get(method)) is not None:
            return found
        return _closed(method.removeprefix(SERVICE)) if method.startswith(SERVICE) else None

    async def _infer(self, raw: bytes, context: Context) -> bytes:
        visit = Visit(DOOR)
        try:
            request = parsed(service_pb2.ModelInferRequest, raw)
            self._gate.enter(visit, context.invocation_metadata() or (), request.id)
            return await self.infer(visit, request, raw, context.time_remaining())
        except (RefusedError, aio.AioRpcError) as error:
            await abort(context, visit, error)
        finally:
            self._gate.leave(visit)

    async def infer(self, visit: Visit, request: Any, raw: bytes, seconds: float | None) -> bytes:
        """Return the serialised answer to a request that has entered.

        Args:
            visit: the request.
            request: ``ModelInferRequest``, which may be changed.
            raw: the same, serialised.
            seconds: how long its caller waits; None without a bound.

        Raises:
            RefusedError: if it is refused.
            AioRpcError: if Triton refuses it.
        """
        public = self._public(self._gate.choose(visit, lambda: _user(request)), request.model_name, request.model_version)
        visit.ensemble = public.name
        sent, bound = self._checked(visit, public, request, raw, seconds)
        answer = await self._gate.ask(visit, sent, bound)
        visit.code = Code.OK
        rung = self._rungs.get((visit.ensemble, visit.rung), b"")
        about = {"request_id": visit.request_id} | ({"fewer": visit.fewer} if visit.fewer else {})
        return answer + self._named(visit) + rung + _parameters(about)

    def _named(self, visit: Visit) -> bytes:
        """Return the parameter that names the version that answers."""
        version = self._gate.version(visit)
        if version not in self._versions:
            self._versions = {version: _parameters({"version": version}), **dict(list(self._versions.items())[:1])}
        return self._versions[version]

    def _checked(
        self, visit: Visit, public: Public, request: Any, raw: bytes, seconds: float | None
    ) -> tuple[bytes, float | None]:
        """Return what Triton gets, and how long the caller waits if not until its own deadline."""
        visit.as_recorded = _switch(request.parameters, AS_RECORDED)
        if visit.as_recorded:
            self._gate.operate(visit)
        _check_tensors(visit, public, request)
        if seconds is not None and seconds <= 0:
            return raw, seconds
        given = take_tensor(request, RULES) if public.name in RULED else None
        if given is not None:
            visit.rules = _rules(given)
            raw = request.SerializeToString()
        if not request.parameters:
            return raw, None
        own, visit.ladder = _own_parameters(request.parameters)
        request.ClearField("parameters")
        bounds = [bound for bound in (own, seconds if visit.ladder else None) if bound is not None]
        return request.SerializeToString(), min(bounds, default=None)

    def _public(self, served: Served, name: str, version: str) -> Public:
        found = served.ensembles.get(name)
        if found is None:
            asked = ", ".join(served.ensembles)
            raise RefusedError(Code.NOT_FOUND, f"There is no model {name!r} to ask; there are {asked}.", "unknown_model")
        if version and not version.isdecimal():
            raise invalid(f"The version {version!r} is no number; leave it out.")
        if version not in _VERSIONS:
            raise RefusedError(Code.NOT_FOUND, f"There is no version {version!r} of {name!r}; leave it out.", "unknown_model")
        return found

    def _looked_up(self, method: str, kind: Any) -> Callable[[bytes, Context], Awaitable[bytes]]:
        """Return what answers a question about a model, of which Triton gets no more than the name."""

        async def look_up(raw: bytes, context: Context) -> bytes:
            visit = Visit(DOOR)
            try:
                asked = parsed(kind, raw)
                self._gate.enter(visit, context.invocation_metadata() or ())
                return await self.look_up(method, kind, asked.name, asked.version)
            except (RefusedError, aio.AioRpcError) as error:
                await abort(context, visit, error)

        return look_up

    async def look_up(self, method: str, kind: Any, name: str, version: str) -> bytes:
        """Return the serialised answer to a question about a model.

        Args:
            method: ``ModelMetadata`` or ``ModelConfig``.
            kind: its message.
            name: of the model.
            version: empty or "1".

        Raises:
            RefusedError: if there is no such model to ask.
            AioRpcError: if Triton does not tell.
        """
        public = self._public(self._gate.served, name, version)
        main = self._gate.routes.main
        found = await main.upstream.look_up(method, kind(name=public.name).SerializeToString())
        return found + _DECLARED[method] if public.name in RULED and main.rulebook is not None else found

    async def ready(self, name: str | None = None, version: str = "") -> bool:
        """Tell whether the server answers, or where a name is given a model of it.

        Raises:
            RefusedError: if there is no such model to ask.
        """
        if name is not None:
            self._public(self._gate.served, name, version)
        return await self._ready()

    async def _model_ready(self, raw: bytes, context: Context) -> bytes:
        visit = Visit(DOOR)
        try:
            asked = parsed(service_pb2.ModelReadyRequest, raw)
            visit.name()
            return _bytes(service_pb2.ModelReadyResponse(ready=await self.ready(asked.name, asked.version)))
        except RefusedError as error:
            await abort(context, visit, error)

    async def _server_ready(self, _raw: bytes, _context: Context) -> bytes:
        return _bytes(service_pb2.ServerReadyResponse(ready=await self._ready()))

    async def _ready(self) -> bool:
        return not self._gate.draining and await self._is_ready()


async def _live(_raw: bytes, _context: Context) -> bytes:
    return _bytes(service_pb2.ServerLiveResponse(live=True))


async def _server_metadata(_raw: bytes, _context: Context) -> bytes:
    return _bytes(
        service_pb2.ServerMetadataResponse(name="cartwheel", version=cartwheel.__version__, extensions=["model_configuration"])
    )


def _closed(method: str) -> grpc.RpcMethodHandler:
    async def refuse(_raw: bytes, context: Context) -> bytes:
        await context.abort(Code.UNIMPLEMENTED, _CLOSED.format(method=method))
        return b""

    async def refuse_stream(_requests: Any, context: Context) -> None:
        await context.abort(Code.UNIMPLEMENTED, _CLOSED.format(method=method))

    if method == "ModelStreamInfer":
        return grpc.stream_stream_rpc_method_handler(refuse_stream)
    return grpc.unary_unary_rpc_method_handler(refuse)


def _user(request: Any) -> str:
    return next(iter(users_of(request)), "")


def _rules(given: list[bytes]) -> Rules:
    if len(given) != 1:
        raise invalid(f"The input {RULES!r} holds {len(given)} texts; give one, a JSON object, with shape [1].")
    try:
        return Rules.model_validate_json(given[0])
    except ValidationError as error:
        raise invalid(wrong_rules(error)) from error


def _check_tensors(visit: Visit, public: Public, request: Any) -> None:
    for tensor in request.inputs:
        if tensor.parameters:
            raise _parameter(f"input {tensor.name!r}", tensor.parameters)
        if tensor.name in GATEWAYS_OWN and not visit.as_recorded:
            raise refused_own(tensor.name)
        if public.limits is not None:
            _check_shape(public, tensor.name, tensor.shape)
    for tensor in request.outputs:
        if tensor.parameters:
            raise _parameter(f"output {tensor.name!r}", tensor.parameters)


def _check_shape(public: Public, name: str, shape: Any) -> None:
    """Refuse what Triton's first step would refuse, before Triton takes it in."""
    limits = public.limits
    assert limits is not None
    if len(shape) == 2:
        if shape[0] > limits.rows:
            raise invalid(_TOO_MANY_ROWS.format(name=name, found=shape[0], limit=limits.rows), "too_large")
        most = limits.widths.get(name)
        if most is not None and shape[1] > most:
            raise invalid(_TOO_WIDE.format(name=name, found=shape[1], limit=most, setting=limits.setting(name)), "too_large")


def _parameter(where: str, parameters: Any) -> RefusedError:
    name = next(iter(parameters))
    return invalid(f"The {where} has a parameter {name!r}; from outside none is taken there. Leave it out.", "parameter")


def _own_parameters(parameters: Any) -> tuple[float | None, bool]:
    """Return the time of a request in seconds, where it gives one, and whether it wants a lower rung rather than no answer."""
    for name in parameters:
        if name not in _ALLOWED:
            allowed = ", ".join(map(repr, _ALLOWED))
            raise invalid(f"The request has a parameter {name!r}; from outside {allowed} are taken. Leave it out.", "parameter")
    microseconds = parameters[_TIMEOUT].int64_param if _TIMEOUT in parameters else 0
    return microseconds / 1e6 if microseconds > 0 else None, _switch(parameters, _LADDER)


def _switch(parameters: Any, name: str) -> bool:
    if name not in parameters:
        return False
    if parameters[name].WhichOneof("parameter_choice") != "bool_param":
        raise invalid(f"The parameter {name!r} of the request is no bool; give true or false.", "parameter")
    return bool(parameters[name].bool_param)


def _parameters(parameters: Mapping[str, str]) -> bytes:
    """Return the bytes that, put behind a serialised answer, add parameters to it."""
    message = service_pb2.ModelInferResponse()
    for name, value in parameters.items():
        message.parameters[name].string_param = value
    return _bytes(message)


def _bytes(message: Any) -> bytes:
    content: bytes = message.SerializeToString()
    return content
