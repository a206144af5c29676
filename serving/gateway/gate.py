"""What every request passes, whichever way it came in: is the server stopping, who asks, and how much is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from grpc import aio

from serving.gateway.metrics import Metrics
from serving.gateway.refusal import Code, RefusedError
from serving.gateway.served import Served
from serving.gateway.upstream import Upstream
from serving.gateway.visit import RANKED, REQUEST_ID, Visit, header

STOPPING: Final = "The server is stopping; ask again a few seconds later, or another server."
_STOP_RETRY_SECONDS: Final = 2.0


class Gate:
    """The checks and the counting that all doors share.

    Args:
        served: what may be asked.
        upstream: what answers.
        metrics: what counts.
    """

    def __init__(self, served: Served, upstream: Upstream, metrics: Metrics) -> None:
        self.served, self.upstream, self.metrics = served, upstream, metrics
        self.draining = False
        """Whether new requests are refused."""

    def enter(self, visit: Visit, headers: Iterable[tuple[str, str | bytes]], given_id: str = "") -> None:
        """Let a request in.

        Raises:
            RefusedError: if it must not be.
        """
        visit.name(header(headers, REQUEST_ID), given_id)
        if self.draining:
            raise RefusedError(Code.UNAVAILABLE, STOPPING, "draining", _STOP_RETRY_SECONDS)

    async def ask(self, visit: Visit, request: bytes, seconds: float | None = None) -> bytes:
        """Pass on a checked request and return Triton's serialised answer.

        Args:
            visit: whose ensemble is known.
            request: serialised ``ModelInferRequest``.
            seconds: how long the caller waits; None without a bound.

        Raises:
            RefusedError: if it is not answered in time, or too much is under way.
            AioRpcError: if Triton refuses it.
        """
        if seconds is not None and seconds <= 0:
            raise _late(seconds)
        try:
            answer = await asyncio.wait_for(self.upstream.ask(request), seconds) if seconds else await self.upstream.ask(request)
        except asyncio.TimeoutError:
            raise _late(seconds or 0.0) from None
        visit.rung = RANKED
        return answer

    def leave(self, visit: Visit, code: Code, reason: str = "") -> None:
        """Count a request that has ended."""
        self.metrics.requests.labels(visit.door, visit.ensemble, code.name).inc()
        if code is Code.OK:
            self.metrics.seconds.labels(visit.door, visit.ensemble).observe(time.perf_counter() - visit.begun)
            self.metrics.rungs.labels(visit.ensemble, visit.rung).inc()
        elif reason:
            self.metrics.rejections.labels(reason).inc()


def failure(error: Exception) -> tuple[Code, str, str]:
    """Return the status, the sentence and the reason of an error that ends a request."""
    if isinstance(error, RefusedError):
        return error.code, error.sentence, error.reason
    if isinstance(error, aio.AioRpcError):
        return error.code(), error.details() or "", "triton"
    raise error


def _late(seconds: float) -> RefusedError:
    return RefusedError(
        Code.DEADLINE_EXCEEDED, f"The request was not answered within the {max(seconds, 0):g} s that it had.", "deadline"
    )
