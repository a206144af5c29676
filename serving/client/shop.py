"""Calls of ``cartwheel.v1.Shop`` that KServe v2 does not support."""

from __future__ import annotations

from typing import Any, Final

import grpc

from cartwheel.core.errors import ServerError, UsageError
from serving.contract.shop import MESSAGES, SERVICE

_SECONDS: Final = 10.0
_WRONG: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


def call(address: str, method: str, **fields: Any) -> Any:
    """Call a method and return its answer.

    Args:
        address: ``host:port`` of the gateway's gRPC.
        method: such as ``Explain``.
        **fields: of its request; one that is None is left out.

    Raises:
        UsageError: if the gateway refuses a field, naming it.
        ServerError: if it does not answer.
    """
    request = MESSAGES[f"{method}Request"](**{name: value for name, value in fields.items() if value is not None})
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/{method}", response_deserializer=MESSAGES[f"{method}Response"].FromString)
        try:
            return ask(request.SerializeToString(), timeout=_SECONDS)
        except grpc.RpcError as error:
            raise _said(address, error) from None


def _said(address: str, error: Any) -> UsageError | ServerError:
    code, details = error.code(), error.details() or ""
    if code in _WRONG:
        return UsageError(details)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ServerError(f"The server at {address} is not Cartwheel's gateway.", "Start `cartwheel serve` with its gateway on.")
    return ServerError(f"The server at {address} did not answer ({code.name}: {details}).", "Check the address, and its log.")
