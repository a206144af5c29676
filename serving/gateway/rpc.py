"""What the gRPC doors have in common: how a request ends without an answer."""

from __future__ import annotations

from typing import Any, NoReturn

from google.protobuf.message import DecodeError
from grpc import aio

from serving.gateway.refusal import RefusedError, invalid
from serving.gateway.visit import REQUEST_ID, Visit


def failed(visit: Visit, error: RefusedError | aio.AioRpcError) -> str:
    """Note on the visit how it ends with an error, and return the sentence."""
    if isinstance(error, RefusedError):
        visit.code, visit.reason = error.code, error.reason
        return error.sentence
    visit.code, visit.reason = error.code(), "triton"
    return error.details() or ""


def parsed(kind: Any, raw: bytes) -> Any:
    """Return the message of a kind that bytes hold.

    Raises:
        RefusedError: if they are none.
    """
    try:
        return kind.FromString(raw)
    except (
        DecodeError,
        UnicodeDecodeError,
    ):  # text that is no UTF-8 raises the latter where protobuf runs without its compiled parser
        raise invalid(f"The bytes of the request are no {kind.DESCRIPTOR.name}.") from None


async def abort(context: Any, visit: Visit, error: RefusedError | aio.AioRpcError) -> NoReturn:
    """End a call with the status of an error; the request id and when to ask again stand in the trailing metadata."""
    sentence = failed(visit, error)
    told = [(REQUEST_ID, visit.request_id)] if visit.request_id else []
    if isinstance(error, RefusedError) and error.retry_seconds is not None:
        told.append(("retry-after", f"{error.retry_seconds:g}"))
    await context.abort(visit.code, sentence, tuple(told))
    raise AssertionError("abort raises")
