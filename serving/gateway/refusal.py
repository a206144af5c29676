"""How the gateway refuses: a gRPC status, a sentence, a reason for the metrics, and when it is worth asking again."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import grpc
from pydantic import ValidationError

Code = grpc.StatusCode
HTTP_STATUS: Final[Mapping[grpc.StatusCode, HTTPStatus]] = {
    Code.INVALID_ARGUMENT: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.FAILED_PRECONDITION: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.UNIMPLEMENTED: HTTPStatus.NOT_FOUND,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}
"""HTTP status of each gRPC status; what is not here is 500."""


class RefusedError(Exception):
    """A request that ends without an answer of a model.

    Args:
        code: gRPC status.
        sentence: what is wrong and what to do.
        reason: why, in one word, for the metrics.
        retry_seconds: when to ask again; None where that would not help.
    """

    def __init__(self, code: grpc.StatusCode, sentence: str, reason: str, retry_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.reason, self.retry_seconds = code, sentence, reason, retry_seconds

    @property
    def http_status(self) -> int:
        """The status over HTTP."""
        return int(HTTP_STATUS.get(self.code, HTTPStatus.INTERNAL_SERVER_ERROR))


def wrong_rules(error: ValidationError) -> str:
    """Return what is wrong with rules, in a sentence that begins with the field."""
    first = error.errors()[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return f"rules{where}: {first['msg']}."


def invalid(sentence: str, reason: str = "invalid") -> RefusedError:
    """Return the refusal of a request that is wrong, whenever it is asked."""
    return RefusedError(Code.INVALID_ARGUMENT, sentence, reason)
