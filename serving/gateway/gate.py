"""What every request passes, whichever way it came in: is the server stopping, who asks, and how much is under way."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
from grpc import aio
from tritonclient.grpc import service_pb2

from cartwheel.core.errors import CartwheelError
from serving.gateway.explorer import Explorer
from serving.gateway.keys import Keys, Role
from serving.gateway.ladder import CAUSES, ENSEMBLE, RUNGS
from serving.gateway.live import Live
from serving.gateway.log import Log
from serving.gateway.metrics import Metrics
from serving.gateway.observer import Observer
from serving.gateway.recorder import Recorder
from serving.gateway.refusal import Code, RefusedError, invalid
from serving.gateway.routes import Route, Routes
from serving.gateway.rulebook import SIMILAR, Plan
from serving.gateway.served import Served
from serving.gateway.tensor_values import take_tensor
from serving.gateway.texts import users_of
from serving.gateway.tracing import Tracer
from serving.gateway.visit import RANKED, REQUEST_ID, Visit, header
from serving.intake.intake import Outcome
from serving.store.event import Recent
from serving.store.item_state import ItemState
from serving.store.link import Link

Headers = Sequence[tuple[str, str | bytes]]
TRACK: Final = "track"
"""What metrics and logs call events that come in, in place of an ensemble."""
STOPPING: Final = "The server is stopping; ask again a few seconds later, or another server."
STAGES: Final = ("events", "triton", "ladder", "explore")
"""Parts of a request that are timed."""
_STOP_RETRY_SECONDS: Final = 2.0
_RESERVED_SHARE, _RESERVED_SECONDS = 0.1, 0.005
"""What of a caller's time is kept for a lower rung and the way back."""
_NO_ITEMS: Final = "The export that is served holds no items for rules; write it again with `cartwheel export`."
USER: Final = b"user_id"
_RECENT_REQUESTS: Final = 256
_RECENT_BYTES: Final = 1 << 16
"""How large a request may be to be kept among the recent ones."""


class Gate:
    """The checks and the counting that all doors share.

    Args:
        routes: the versions that are served.
        metrics: what counts.
        log: what writes.
        keys: who may ask; None lets anyone.
        ladder_seconds: after how long Triton is late, and a lower rung answers.
    """

    def __init__(
        self,
        routes: Routes,
        metrics: Metrics,
        log: Log,
        keys: Keys | None = None,
        ladder_seconds: float = 0.5,
    ) -> None:
        self.routes, self.metrics, self._log, self._keys = routes, metrics, log, keys
        self._ladder_seconds = ladder_seconds
        self.recent: deque[tuple[str, bytes]] = deque(maxlen=_RECENT_REQUESTS)
        """The latest requests that Triton got, each with its ensemble; a new version is warmed up with them."""
        self.recorder: Recorder | None = None
        """What writes whole requests; None where nothing does."""
        self.live: Live | None = None
        """What shoppers did since the export; None where it is not kept."""
        self._stage = {name: metrics.stages.labels(name) for name in STAGES}
        self.observer: Observer | None = None
        """Looks at a sample for drift; None where nothing is looked at."""
        self.tracer: Tracer | None = None
        """Tells OpenTelemetry of requests; None where nothing is traced."""
        self.explorer: Explorer | None = None
        """Explores and logs what is shown; None where neither is wanted."""
        self.draining = False
        """Whether new requests are refused."""

    @property
    def served(self) -> Served:
        """What may be asked of the version that most requests get."""
        return self.routes.main.served

    def choose(self, visit: Visit, user: Callable[[], str]) -> Served:
        """Choose the version for a request, once, and return what may be asked of it.

        Args:
            visit: the request, which has entered.
            user: gives the id of the user that it asks about; "" where it names none.
        """
        if visit.route is None:
            visit.route = self.routes.choose(lambda: visit.shopper(user()))
            visit.route.visits += 1
        return visit.route.served

    def version(self, visit: Visit) -> str:
        """Return the version that answers a request."""
        return (visit.route or self.routes.main).served.version

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
        visit.headers = headers
        visit.name(header(headers, REQUEST_ID), given_id)
        if self._keys is not None:
            visit.caller = self._keys.admit(_key(headers), role)
        if self.draining:
            raise RefusedError(Code.UNAVAILABLE, STOPPING, "draining", _STOP_RETRY_SECONDS)

    def operate(self, visit: Visit) -> None:
        """Let a request in, which has entered, that asks more than an answer of the shop.

        Raises:
            RefusedError: if its key is not one of an operator.
        """
        if self._keys is not None:
            self._keys.admit(_key(visit.headers), Role.OPERATE)

    async def ask(self, visit: Visit, request: bytes, seconds: float | None = None) -> bytes:
        """Pass on a checked request and return Triton's serialised answer.

        Args:
            visit: whose ensemble and version are known.
            request: serialised ``ModelInferRequest``.
            seconds: how long the caller waits; None without a bound.

        Raises:
            RefusedError: if it is not answered in time, or too much is under way.
            AioRpcError: if Triton refuses it.
        """
        if seconds is not None and seconds <= 0:
            raise _late(seconds)
        route = visit.route
        assert route is not None
        begun = time.monotonic()
        explored = None
        if self.explorer is not None and visit.explores and not visit.as_recorded:
            explored = self.explorer.widened(visit, route, request)
        if explored is not None:
            request, visit.k = explored.request, explored.k
        request, carts = await self._joined(visit, route, request)
        if len(request) <= _RECENT_BYTES:
            self.recent.append((visit.ensemble, request))
        plan = None if visit.as_recorded else _plan(visit, route, request, carts)
        if plan is None:
            answer = await self._answer(visit, route, request, seconds)
        else:
            answer = await plan.answer(lambda part: self._answer(visit, route, part, _left(seconds, begun)), visit)
        if self.observer is not None and route is self.routes.main:
            self.observer.answered(visit, route, request, answer)
        if explored is not None and self.explorer is not None:
            with visit.stage("explore"):
                cart = carts[0] if carts else ()
                answer = self.explorer.shown(visit, route.served.version, explored, request, cart, answer)
        if self.routes.are_compared:
            self.routes.clicks.answered(request, answer, route.tally)
        return answer

    async def _joined(self, visit: Visit, route: Route, request: bytes) -> tuple[bytes, Sequence[Sequence[str]]]:
        """Return a request with what the store knows of its shoppers, and their carts."""
        if visit.as_recorded:
            return request, ()
        if visit.ensemble == SIMILAR:
            with visit.stage("events"):
                return await self._known_to(route, request)
        if self.live is None:
            return request, ()
        with visit.stage("events"):
            public = route.served.ensembles[visit.ensemble]
            if public.is_task:
                return await self.live.with_columns(public, route.columns, request), ()
            request, carts = await self.live.joined(public, request)
            if public.takes_prices and route.rulebook is not None:
                request += route.rulebook.prices(request, self.live.most_bytes)
            return request, carts

    async def _known_to(self, route: Route, request: bytes) -> tuple[bytes, Sequence[Sequence[str]]]:
        """Return a question about an item without the shopper that it names, and what is left out for them beside their cart."""
        if USER not in request:
            return request, ()
        asked = service_pb2.ModelInferRequest.FromString(request)
        users = users_of(asked)
        if take_tensor(asked, USER.decode()) is None:
            return request, ()
        request = asked.SerializeToString()
        if route.rulebook is None or not any(users):
            return request, ()
        last = route.served.ensembles[SIMILAR].last_event_us
        rows: list[list[Recent]] = [[]] * len(users)
        carts: list[list[str]] = [[]] * len(users)
        if self.live is not None:
            rows, carts = await self.live.since(users, last)
        out = (route.rulebook.left_out(user, row) if user else [] for user, row in zip(users, rows, strict=True))
        return request, [[*cart, *left] for cart, left in zip(carts, out, strict=True)]

    async def plain(
        self, visit: Visit, request: bytes, seconds: float | None
    ) -> tuple[Plan, Sequence[str], Callable[[bytes], Awaitable[bytes]]]:
        """Return how a question of one row is asked under rules but for their arrangement, what is in the cart, and what asks.

        Raises:
            RefusedError: if a rule cannot be honoured, or the export holds no items.
        """
        route, begun = visit.route, time.monotonic()
        assert route is not None
        if route.rulebook is None:
            raise invalid(_NO_ITEMS)
        request, carts = await self._joined(visit, route, request)
        try:
            plan = route.rulebook.plain(request, carts, visit.rules)
        except CartwheelError as error:
            raise invalid(str(error)) from error
        return plan, carts[0] if carts else (), lambda part: self._answer(visit, route, part, _left(seconds, begun))

    async def _answer(self, visit: Visit, route: Route, request: bytes, seconds: float | None) -> bytes:
        if route.ladder is None or not visit.ladder or visit.ensemble != ENSEMBLE:
            return await self._ranked(visit, route, request, seconds)
        try:
            return await self._ranked(visit, route, request, self._patience(seconds))
        except (RefusedError, aio.AioRpcError) as error:
            if _code(error) not in CAUSES:
                raise
        with visit.stage("ladder"):
            answer, rung = route.ladder.answer(request)
        visit.rung = rung if visit.rung in ("", RANKED) else max(visit.rung, rung, key=RUNGS.index)
        return answer

    async def _ranked(self, visit: Visit, route: Route, request: bytes, seconds: float | None) -> bytes:
        begun = time.perf_counter()
        asked = route.upstream.ask(request, self.metrics.triton_seconds.labels(visit.ensemble).observe)
        try:
            with visit.stage("triton"):
                answer = await (asyncio.wait_for(asked, seconds) if seconds is not None else asked)
        except asyncio.TimeoutError:
            self._failed(route)
            raise _late(seconds or 0.0) from None
        except (RefusedError, aio.AioRpcError) as error:
            if _code(error) is not Code.INVALID_ARGUMENT:
                self._failed(route)
            raise
        route.tally.took(time.perf_counter() - begun)
        visit.rung = visit.rung or RANKED
        if self.recorder is not None:
            self.recorder.record(visit, route.served.version, request, answer)
        return answer

    def _failed(self, route: Route) -> None:
        route.tally.failed += 1
        self.metrics.answers.labels(route.served.version, "failed").inc()

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
            raise RefusedError(Code.UNIMPLEMENTED, "This server stores no events (serve.store is off).", "unknown_method")
        outcome = await self.live.track(events, visit.caller)
        if self.observer is not None:
            self.observer.tracked(self.routes.main, outcome.new, time.time_ns() // 1000)
        if self.routes.are_compared:
            self.routes.clicks.clicked(event for place, event in enumerate(events) if place not in outcome.refused)
        return outcome

    async def set_items(self, states: Sequence[ItemState]) -> tuple[str, ...]:
        """Set the state of items, and return those that the export does not know; it counts from the next question on.

        Raises:
            RefusedError: if it cannot be kept.
        """
        if self.live is None:
            raise RefusedError(Code.UNIMPLEMENTED, "This server stores no state of items (serve.store is off).", "unknown_method")
        await self.live.set_items(states)
        return self.routes.set_items(states)

    async def link(self, links: Sequence[Link]) -> None:
        """Keep who visitors turned out to be; it counts from the next question on.

        Raises:
            RefusedError: if it cannot be kept.
        """
        if self.live is None:
            raise RefusedError(Code.UNIMPLEMENTED, "This server keeps no links (serve.store is off).", "unknown_method")
        await self.live.link(links)

    async def close(self) -> None:
        """Keep what has gathered of events and recorded requests."""
        if self.live is not None:
            await self.live.close()
        if self.recorder is not None:
            self.recorder.flush()
        if self.explorer is not None:
            self.explorer.log.flush()
        if self.tracer is not None:
            self.tracer.close()

    def leave(self, visit: Visit) -> None:
        """Count a request that has ended, and write about it."""
        if visit.route is not None:
            visit.route.visits -= 1
        self._log.request(visit)
        for stage, begun, ended in visit.stages:
            self._stage[stage].observe(ended - begun)
        if self.tracer is not None:
            self.tracer.request(visit, self.version(visit))
        self.metrics.requests.labels(visit.door, visit.ensemble, visit.code.name).inc()
        if visit.code is Code.OK:
            self.metrics.seconds.labels(visit.door, visit.ensemble).observe(time.perf_counter() - visit.begun)
            if visit.route is not None:
                self.metrics.answers.labels(visit.route.served.version, "answered").inc()
            if visit.rung:
                self.metrics.rungs.labels(visit.ensemble, visit.rung).inc()
        elif visit.reason:
            self.metrics.rejections.labels(visit.reason).inc()


def _plan(visit: Visit, route: Route, request: bytes, carts: Sequence[Sequence[str]]) -> Plan | None:
    """Return how a question is asked under rules; None where none applies to it."""
    if route.rulebook is not None:
        return route.rulebook.plan(visit, request, carts)
    if visit.rules is not None:
        raise invalid(_NO_ITEMS)
    return None


def _left(seconds: float | None, begun: float) -> float | None:
    """Return what is left of the caller's time."""
    if seconds is None:
        return None
    left = seconds - (time.monotonic() - begun)
    if left <= 0:
        raise _late(seconds)
    return left


def _code(error: RefusedError | aio.AioRpcError) -> grpc.StatusCode:
    return error.code if isinstance(error, RefusedError) else error.code()


def _key(headers: Headers) -> str:
    """Return the key that a request bears; empty where it bears none."""
    kind, _, text = header(headers, "authorization").partition(" ")
    return text.strip() if kind.lower() == "bearer" else header(headers, "x-api-key")


def _late(seconds: float) -> RefusedError:
    return RefusedError(
        Code.DEADLINE_EXCEEDED, f"The request was not answered within the {max(seconds, 0):g} s that it had.", "deadline"
    )
