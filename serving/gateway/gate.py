"""What every request passes, whichever way it came in: is the server stopping, who asks, and how much is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from grpc import aio

from serving.gateway.keys import Keys, Role
from serving.gateway.ladder import CAUSES, ENSEMBLE, Ladder
from serving.gateway.live import Live
from serving.gateway.log import Log
from serving.gateway.metrics import Metrics
from serving.gateway.refusal import Code, RefusedError
from serving.gateway.served import Served
from serving.gateway.upstream import Upstream
from serving.gateway.visit import RANKED, REQUEST_ID, Visit, header
from serving.intake.intake import Outcome

Headers = Sequence[tuple[str, str | bytes]]
TRACK: Final = "track"
"""What metrics and logs call events that come in, in place of an ensemble."""
STOPPING: Final = "The server is stopping; ask again a few seconds later, or another server."
_STOP_RETRY_SECONDS: Final = 2.0
_RESERVED_SHARE, _RESERVED_SECONDS = 0.1, 0.005
"""What of a caller's time is kept for a lower rung and the way back."""


class Gate:
    """The checks and the counting that all doors share.

    Args:
        served: what may be asked.
        upstream: what answers.
        metrics: what counts.
        log: what writes.
        keys: who may ask; None lets anyone.
        ladder: answers ``recommend`` where Triton does not; None where nothing does.
        ladder_seconds: after how long Triton is late.
    """

    def __init__(
        self,
        served: Served,
        upstream: Upstream,
        metrics: Metrics,
        log: Log,
        keys: Keys | None = None,
        ladder: Ladder | None = None,
        ladder_seconds: float = 0.5,
    ) -> None:
        self.served, self.upstream, self.metrics, self._log, self._keys = served, upstream, metrics, log, keys
        self._ladder, self._ladder_seconds = ladder, ladder_seconds
        self._took = {name: metrics.triton_seconds.labels(name).observe for name in served.ensembles}
        self.live: Live | None = None
        """What shoppers did since the export; None where it is not kept."""
        self.draining = False
        """Whether new requests are refused."""

    def enter(self, visit: Visit, headers: Headers, given_id: str = "", role: Role = Role.ASK) -> None:
        """Let a request in.

        Args:
            visit: what is known of it.
            headers: its headers, or gRPC metadata.
            given_id: a request id that it gives elsewhere.
            role: what its key must allow.

        Raises:
            RefusedError: if the server is stopping, or the key is not one that may ask this now.
        """
        visit.name(header(headers, REQUEST_ID), given_id)
        if self._keys is not None:
            visit.caller = self._keys.admit(_key(headers), role)
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
        if self.live is not None:
            request = await self.live.joined(self.served.ensembles[visit.ensemble], request)
        if self._ladder is None or not visit.ladder or visit.ensemble != ENSEMBLE:
            return await self._ranked(visit, request, seconds)
        try:
            return await self._ranked(visit, request, self._patience(seconds))
        except (RefusedError, aio.AioRpcError) as error:
            if (error.code if isinstance(error, RefusedError) else error.code()) not in CAUSES:
                raise
        answer, visit.rung = self._ladder.answer(request)
        return answer

    async def _ranked(self, visit: Visit, request: bytes, seconds: float | None) -> bytes:
        asked = self.upstream.ask(request, self._took[visit.ensemble])
        try:
            answer = await (asyncio.wait_for(asked, seconds) if seconds is not None else asked)
        except asyncio.TimeoutError:
            raise _late(seconds or 0.0) from None
        visit.rung = RANKED
        return answer

    def _patience(self, seconds: float | None) -> float:
        """Return how long Triton is waited for where another rung can answer within the caller's time."""
        left = self._ladder_seconds if seconds is None else seconds * (1 - _RESERVED_SHARE) - _RESERVED_SECONDS
        return max(0.0, min(self._ladder_seconds, left))

    async def track(self, visit: Visit, events: Sequence[Any]) -> Outcome:
        """Take events in, and return when they are durable.

        Raises:
            RefusedError: if they are not taken; see :meth:`serving.gateway.live.Live.track`.
        """
        if self.live is None:
            raise RefusedError(Code.UNIMPLEMENTED, "This server keeps no events (serve.store is off).", "unknown_method")
        return await self.live.track(events, visit.caller)

    def leave(self, visit: Visit) -> None:
        """Count a request that has ended, and write about it."""
        self._log.request(visit)
        self.metrics.requests.labels(visit.door, visit.ensemble, visit.code.name).inc()
        if visit.code is Code.OK:
            self.metrics.seconds.labels(visit.door, visit.ensemble).observe(time.perf_counter() - visit.begun)
            if visit.rung:
                self.metrics.rungs.labels(visit.ensemble, visit.rung).inc()
        elif visit.reason:
            self.metrics.rejections.labels(visit.reason).inc()


def _key(headers: Headers) -> str:
    """Return the key that a request bears; empty where it bears none."""
    kind, _, text = header(headers, "authorization").partition(" ")
    return text.strip() if kind.lower() == "bearer" else header(headers, "x-api-key")


def _late(seconds: float) -> RefusedError:
    return RefusedError(
        Code.DEADLINE_EXCEEDED, f"The request was not answered within the {max(seconds, 0):g} s that it had.", "deadline"
    )
