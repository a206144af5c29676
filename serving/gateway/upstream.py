"""Triton, as the gateway asks it: never more requests at once than allowed, and none ever given up.

Triton 2.51 has a race between an answer and its cancellation, which ends it. So no deadline and no cancellation is passed on: what a
caller no longer waits for runs to its end, holds its place until then, and its answer is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import grpc
from grpc import aio

from serving.gateway.refusal import Code, RefusedError
from serving.settings import ServeSettings

SERVICE: Final = "/inference.GRPCInferenceService/"
INFER: Final = f"{SERVICE}ModelInfer"
_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.default_authority", "localhost"),
)
_FULL_RETRY_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 0.5
_METADATA_SECONDS: Final = 5.0
_OWN_WORDS: Final = ("maximum queue size", "timeout expired", "server is stopping", "has no available versions")
"""What Triton itself says with UNAVAILABLE; anything else is a connection that is not there."""


class Upstream:
    """One Triton.

    Args:
        target: its gRPC target.
        settings: how many requests may be under way and wait, and for how long.
        lost: called for each request that was never answered.
        waited: called with the seconds that a request waited for its turn.
        looked_up: called with what answers a question about a model: ``cache`` or ``triton``.
    """

    def __init__(
        self,
        target: str,
        settings: ServeSettings,
        lost: Callable[[], None] = lambda: None,
        waited: Callable[[float], None] = lambda _seconds: None,
        looked_up: Callable[[str], None] = lambda _source: None,
    ) -> None:
        self.target = target
        """What it was made with."""
        self._settings, self._lost, self._waited, self._looked_up = settings, lost, waited, looked_up
        self._loop = asyncio.get_running_loop()
        self._channel = aio.insecure_channel(target, options=_OPTIONS)
        self._infer: Any = self._channel.unary_unary(INFER)
        self._running: dict[asyncio.Task[None], tuple[float, asyncio.Future[bytes]]] = {}
        self._line: deque[asyncio.Future[None]] = deque()
        self._known: dict[tuple[str, bytes], bytes] = {}
        self._closing: asyncio.Task[None] | None = None
        self._sweeper = self._loop.create_task(self._sweep())
        self.under_way = 0
        """Requests that Triton was given and has not answered."""
        self.waiting = 0
        """Requests that wait for their turn."""

    async def ask(self, request: bytes, took: Callable[[float], None] = lambda _seconds: None) -> bytes:
        """Pass on a serialised ``ModelInferRequest`` and return the serialised answer.

        Cancelling the caller drops the answer and leaves the request alone.

        Args:
            request: the bytes.
            took: called with the seconds that Triton took to answer, whether or not the caller waited.

        Raises:
            RefusedError: if too many wait, it waited too long, or was lost; and if Triton is not there.
            AioRpcError: if Triton answers with another status.
        """
        if self.under_way < self._settings.max_under_way:
            self.under_way += 1
        else:
            await self._turn()
        answer: asyncio.Future[bytes] = self._loop.create_future()
        task = self._loop.create_task(self._run(request, answer, took))
        self._running[task] = (time.monotonic(), answer)
        task.add_done_callback(self._ended)
        return await answer

    async def look_up(self, method: str, request: bytes) -> bytes:
        """Ask about a model; what it answered once holds as long as the repository, and is answered while Triton is away, too.

        Raises:
            RefusedError: if Triton is not there.
            AioRpcError: if Triton answers with another status.
        """
        key = (method, request)
        self._looked_up("cache" if key in self._known else "triton")
        if key not in self._known:
            try:
                self._known[key] = await asyncio.shield(self._loop.create_task(self._call(method, request)))
            except aio.AioRpcError as error:
                raise _translated(error) from error
        return self._known[key]

    async def finish(self, seconds: float) -> None:
        """Wait until nothing is under way or waits, at most so long."""
        deadline = time.monotonic() + seconds
        while (self.under_way or self.waiting) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """Give the connection back, whatever is still under way."""
        self._sweeper.cancel()
        self._closing = self._loop.create_task(self._channel.close())

    async def _call(self, method: str, request: bytes) -> bytes:
        answer: bytes = await self._channel.unary_unary(f"{SERVICE}{method}")(request)
        return answer

    async def _run(self, request: bytes, answer: asyncio.Future[bytes], took: Callable[[float], None]) -> None:
        begun = time.perf_counter()
        try:
            given = await self._infer(request)
        except aio.AioRpcError as error:
            if not answer.done():
                answer.set_exception(_translated(error))
            return
        took(time.perf_counter() - begun)
        if not answer.done():
            answer.set_result(given)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Give the place of a request free; one that was swept has given it already."""
        if self._running.pop(task, None) is not None:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.under_way -= 1

    async def _turn(self) -> None:
        if self.waiting >= self._settings.max_waiting:
            raise _full(f"{self.waiting:,} requests wait already (serve.max_waiting)", "queue_full")
        place: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_later(self._settings.gateway_queue_seconds, self._expire, place)
        self._line.append(place)
        self.waiting += 1
        begun = time.perf_counter()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._pass_on()  # its turn came in the moment in which it was given up
            raise
        finally:
            self.waiting -= 1
            self._waited(time.perf_counter() - begun)
            timer.cancel()

    def _expire(self, place: asyncio.Future[None]) -> None:
        if not place.done():
            seconds = self._settings.gateway_queue_seconds
            place.set_exception(
                _full(f"the request waited {seconds:g} s for its turn (serve.gateway_queue_seconds)", "queue_time")
            )

    async def _sweep(self) -> None:
        """Free the places of requests that Triton has lost; they themselves are left alone, for to cancel them is not safe."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            oldest = time.monotonic() - self._settings.lost_seconds
            for task in [task for task, (begun, _) in self._running.items() if begun < oldest]:
                _, answer = self._running.pop(task)
                if not answer.done():
                    answer.set_exception(
                        RefusedError(Code.UNAVAILABLE, f"Triton did not answer within {self._settings.lost_seconds:g} s.", "lost")
                    )
                self._lost()
                self._pass_on()


def _full(why: str, reason: str) -> RefusedError:
    return RefusedError(Code.UNAVAILABLE, f"The server is at its limit: {why}. Ask again later.", reason, _FULL_RETRY_SECONDS)


def _translated(error: Any) -> Exception:
    """Return the error that a caller gets: a connection that is not there is told as such."""
    given: Exception = error
    details = error.details() or ""
    if error.code() is not grpc.StatusCode.UNAVAILABLE or any(words in details for words in _OWN_WORDS):
        return given
    return RefusedError(
        Code.UNAVAILABLE,
        "Triton does not answer; if it is dead, it is being started again. Ask again.",
        "triton_away",
        _FULL_RETRY_SECONDS,
    )
