"""What shoppers did since the export: taken in, and given to every question that can use it.

A question about a shopper is joined with their events before Triton gets it. Where the store does not answer in time it is asked without
them, for a while without even trying: an answer that knows less is better than none.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeVar

import numpy as np
from tritonclient.grpc import service_pb2

from cartwheel.core.errors import CartwheelError
from serving.contract.tasks import ENTITY
from serving.gateway.links import Links
from serving.gateway.metrics import Metrics
from serving.gateway.refusal import Code, RefusedError, invalid
from serving.gateway.served import Public
from serving.gateway.task_columns import TaskColumns
from serving.gateway.tensor_values import read_texts
from serving.gateway.texts import users_of
from serving.intake.dead_letters import DeadLetters
from serving.intake.intake import BusyError, Intake, Outcome
from serving.settings import ServeSettings
from serving.store.event import Recent
from serving.store.item_state import ItemState
from serving.store.link import Link
from serving.store.store import HOUR_US, Store
from workflows.events.kinds import CART, PURCHASE, REMOVE_FROM_CART

_Found = TypeVar("_Found")
FULL: Final = "track_full"
"""The reason of a refusal because too many events wait."""
_BUSY_RETRY_SECONDS: Final = 1.0
_REST_SECONDS: Final = 1.0
"""How long a store that did not answer is left alone."""


class Live:
    """The store and the intake of one gateway.

    Args:
        store: where events are kept.
        letters: where those go that are not sound.
        settings: the section ``[serve]``.
        metrics: what counts.
        complain: writes a sentence to the log.
    """

    def __init__(
        self, store: Store, letters: DeadLetters, settings: ServeSettings, metrics: Metrics, complain: Callable[[str], None]
    ) -> None:
        self._store, self._settings, self._metrics, self._complain = store, settings, metrics, complain
        self._intake = Intake(store, letters, settings.max_track_waiting, settings.extra_types)
        self._rest_until = 0.0
        self._items_read, self._items_failed, self._links_read = "", False, ""
        self._links = Links()
        metrics.track_waiting.set_function(lambda: self._intake.waiting)

    @property
    def most_bytes(self) -> int:
        """How many bytes a request with what is added to it may have."""
        return self._settings.max_message_bytes

    async def track(self, raws: Sequence[Any], caller: str) -> Outcome:
        """Take events in; see :meth:`serving.intake.intake.Intake.track`.

        Raises:
            RefusedError: if there are too many or none, too many wait, or they cannot be kept.
        """
        most = self._settings.max_track_events
        if not 0 < len(raws) <= most:
            raise invalid(f"The request holds {len(raws):,} events; give 1 to {most:,} (serve.max_track_events).", "too_large")
        begun = time.perf_counter()
        try:
            outcome = await self._intake.track(raws, caller)
        except BusyError as error:
            raise RefusedError(Code.UNAVAILABLE, str(error), FULL, _BUSY_RETRY_SECONDS) from None
        except CartwheelError as error:
            self._complain(str(error))
            raise RefusedError(Code.UNAVAILABLE, str(error), "store", _BUSY_RETRY_SECONDS) from error
        self._metrics.track_seconds.observe(time.perf_counter() - begun)
        self._metrics.tracked.labels("accepted").inc(outcome.accepted)
        self._metrics.tracked.labels("duplicate").inc(outcome.duplicates)
        for why in outcome.refused.values():
            self._metrics.tracked.labels(why.reason).inc()
        return outcome

    async def joined(self, public: Public, request: bytes) -> tuple[bytes, list[list[str]]]:
        """Return a request with the events of its shoppers, and what is in the cart of each row.

        The request is as it was where it gives events itself, or there are none, and then no cart is known.

        Args:
            public: the ensemble that it asks.
            request: serialised ``ModelInferRequest``.
        """
        if not public.takes_events or time.monotonic() < self._rest_until:
            return request, []
        asked = service_pb2.ModelInferRequest.FromString(request)
        users = [] if any(tensor.name.startswith("events_") for tensor in asked.inputs) else users_of(asked)
        if not any(users):
            return request, []
        now = time.time_ns() // 1000
        rows, carts = await self.since(users, public.last_event_us)
        if not any(rows):
            return request, carts
        more = _events(asked, rows, now)
        if len(request) + len(more) > self._settings.max_message_bytes:  # it would be refused for what its caller did not give
            self._metrics.without_events.inc()
            return request, carts
        return request + more, carts

    async def since(self, users: Sequence[str], known_us: int) -> tuple[list[list[Recent]], list[list[str]]]:
        """Return what each user did after an instant, oldest first, and what is in the cart of each.

        Args:
            users: their ids.
            known_us: Unix microseconds; what happened until then, an export knows.
        """
        opened = time.time_ns() // 1000 - round(self._settings.cart_hours * HOUR_US)
        kept = await self._looked_up(users, min(known_us, opened))
        carts = [_cart([event for event in row if event.time_us > opened]) for row in kept]
        return [[event for event in row if event.time_us > known_us] for row in kept], carts

    async def with_columns(self, public: Public, columns: TaskColumns | None, request: bytes) -> bytes:
        """Return a question to a declared task with the columns that follow from what happened since the export.

        The request is as it was where nothing happened, and what it gives itself stays. Of a task about sessions, whose ensemble stores
        nothing, ``entity`` names the shopper, and every column that is left out is computed of their running session.

        Args:
            public: the task's ensemble.
            columns: of the export; None where no column follows from events.
            request: serialised ``ModelInferRequest``.

        Raises:
            RefusedError: if the session of a shopper does not tell all that the task wants.
        """
        about = columns.about(public.name) if columns is not None else ""
        if columns is None or not about or (about != "session" and time.monotonic() < self._rest_until):
            return request
        asked = service_pb2.ModelInferRequest.FromString(request)
        entities = [row[0] if row else "" for row in read_texts(asked, ENTITY) or []]
        if not entities:
            return request
        now, known = time.time_ns() // 1000, columns.last_event_us
        if about == "item":
            since = await self._found(lambda: self._store.of_items(entities, known), len(entities))
            found = columns.of_items(public.name, entities, since, now)
        else:
            rows = await self._looked_up(entities, known)
            items = columns.items_of(public.name, rows)
            since = await self._found(lambda: self._store.of_items(items, known), len(items)) if items else []
            found = columns.of_shoppers(public.name, entities, rows, dict(zip(items, since, strict=True)), now)
        if not found:
            return request
        whole = columns.added(public.name, request, asked, found)
        if about != "session" and len(whole) > self._settings.max_message_bytes:
            self._metrics.without_events.inc()
            return request
        return whole

    def recent(self, user: str) -> list[Recent]:
        """Return what a user did lately, oldest first; nothing where the store does not answer."""
        try:
            [names] = self._links.histories([user])
            return self._links.joined(user, names, dict(zip(names, self._store.recent(names, 0), strict=True)))
        except CartwheelError as error:
            self._complain(str(error))
            return []

    async def set_items(self, states: Sequence[ItemState]) -> None:
        """Keep the state of items.

        Raises:
            RefusedError: if it cannot be kept.
        """
        try:
            await asyncio.to_thread(self._store.set_items, states)
        except CartwheelError as error:
            self._complain(str(error))
            raise RefusedError(Code.UNAVAILABLE, str(error), "store", _BUSY_RETRY_SECONDS) from error

    async def link(self, links: Sequence[Link]) -> None:
        """Keep who visitors are; it counts from the next question on.

        Raises:
            RefusedError: if it cannot be kept.
        """
        try:
            await asyncio.to_thread(self._store.link, links, time.time_ns() // 1000)
        except CartwheelError as error:
            self._complain(str(error))
            raise RefusedError(Code.UNAVAILABLE, str(error), "store", _BUSY_RETRY_SECONDS) from error
        self._links.update(links)

    async def read_links(self) -> None:
        """Take in links that were told since the last time, here or at another gateway; where the store fails, later."""
        try:
            links, self._links_read = await asyncio.to_thread(self._store.links, self._links_read)
        except CartwheelError:
            return  # as :meth:`read_items` has said
        self._links.update(links)

    async def read_items(self) -> list[ItemState]:
        """Return the state of items that was set since the last time, here or at another gateway; none where the store fails."""
        try:
            states, self._items_read = await asyncio.to_thread(self._store.items, self._items_read)
        except CartwheelError as error:
            if not self._items_failed:
                self._complain(str(error))
            self._items_failed = True
            return []
        self._items_failed = False
        return states

    async def close(self) -> None:
        """Wait for what is under way, and close the store."""
        await self._intake.close()
        self._store.close()

    async def _looked_up(self, users: Sequence[str], after_us: int) -> list[list[Recent]]:
        """Return what each user did after an instant, as themselves and as a visitor who turned out to be them."""
        histories = self._links.histories(users)
        names = list(dict.fromkeys(name for row in histories for name in row))
        found = await self._found(lambda: self._store.recent(names, after_us), len(names))
        events = dict(zip(names, found, strict=True))
        return [self._links.joined(user, row, events) for user, row in zip(users, histories, strict=True)]

    async def _found(self, look_up: Callable[[], list[list[_Found]]], count: int) -> list[list[_Found]]:
        """Return what the store finds of so many names; nothing where it does not answer in time."""
        if time.monotonic() < self._rest_until:
            return [[] for _ in range(count)]
        try:
            if self._store.is_local:
                return look_up()
            return await asyncio.wait_for(asyncio.to_thread(look_up), self._settings.store_seconds)
        except (CartwheelError, asyncio.TimeoutError) as error:
            self._rest_until = time.monotonic() + _REST_SECONDS
            self._metrics.without_events.inc()
            self._complain(str(error) or f"The store of events did not answer within {self._settings.store_seconds:g} s.")
            return [[] for _ in range(count)]


def told(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON values."""
    refused = [{"index": place, **asdict(why)} for place, why in outcome.refused.items()]
    return {"accepted": outcome.accepted, "duplicates": outcome.duplicates, "refused": refused}


def _cart(events: Sequence[Recent]) -> list[str]:
    """Return the items that were put into the cart and neither taken out nor bought."""
    held: dict[str, None] = {}
    for event in events:
        if event.event_type == CART:
            held[event.item_id] = None
        elif event.event_type in (REMOVE_FROM_CART, PURCHASE):
            held.pop(event.item_id, None)
    return list(held)


def _events(asked: Any, rows: Sequence[Sequence[Recent]], now_us: int) -> bytes:
    """Return the bytes that, put behind a request, add the events, and the time where it does not say one."""
    width = max(map(len, rows))
    padded = [[*row, *[Recent("", "", 0, None)] * (width - len(row))] for row in rows]
    events = [event for row in padded for event in row]
    more = service_pb2.ModelInferRequest()
    raw = bool(asked.raw_input_contents)

    def add(name: str, kind: str, size: int, field: str, values: list[Any], content: Callable[[], bytes]) -> None:
        tensor = more.inputs.add(name=name, datatype=kind, shape=[len(rows), size])
        if raw:
            more.raw_input_contents.append(content())
        else:
            getattr(tensor.contents, field).extend(values)

    for name, texts in (("item", [event.item_id for event in events]), ("type", [event.event_type for event in events])):
        encoded = [text.encode() for text in texts]
        add(f"events_{name}", "BYTES", width, "bytes_contents", encoded, lambda encoded=encoded: _wire(encoded))  # type: ignore[misc]
    times = [event.time_us for event in events]
    add("events_time", "INT64", width, "int64_contents", times, lambda: np.array(times, np.int64).tobytes())
    prices = [math.nan if event.price is None else event.price for event in events]
    add("events_price", "FP32", width, "fp32_contents", prices, lambda: np.array(prices, np.float32).tobytes())
    if all(tensor.name != "timestamp" for tensor in asked.inputs):
        latest = [max(now_us, *(event.time_us + 1 for event in row)) if row else now_us for row in rows]
        add("timestamp", "INT64", 1, "int64_contents", latest, lambda: np.array(latest, np.int64).tobytes())
    content: bytes = more.SerializeToString()
    return content


def _wire(texts: Sequence[bytes]) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
