"""Validates and stores events, and acknowledges them when they are durable.

Events that arrive while a commit is under way wait for the next one and share it. Where more wait than may, further ones are refused
before anything is done with them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from serving.intake.dead_letters import DeadLetters
from serving.intake.rules import Refused, checked
from serving.store.event import Tracked
from serving.store.store import Store
from workflows.events.kinds import EVENT_TYPES

_AT_ONCE: Final = 1_000
"""Events that one commit keeps, a request's own beyond that with it."""


class BusyError(Exception):
    """More events wait to be kept than may; the same may be sent again."""


@dataclass(frozen=True)
class Outcome:
    """What became of some events, in their order.

    Attributes:
        accepted: how many are new and kept.
        duplicates: how many were known already.
        refused: place -> why it was not taken.
        new: those that are new, where they were asked for one by one.
    """

    accepted: int
    duplicates: int
    refused: dict[int, Refused]
    new: Sequence[Tracked] = field(default=(), compare=False, repr=False)


@dataclass
class _Waiting:
    events: list[Tracked]
    letters: list[dict[str, Any]]
    done: asyncio.Future[list[bool]]


def keep(store: Store, letters: DeadLetters, raws: Sequence[Any], types: frozenset[str], source: str, now_us: int) -> Outcome:
    """Check and keep events at once, in this thread; for consumers, which have batches of their own.

    Raises:
        ServerError: if they cannot be kept; then they may be sent again.
    """
    events, refused = _sorted(raws, types, now_us)
    letters.write(_letters(raws, refused, source, now_us))
    new = store.add(events, now_us) if events else []
    return Outcome(sum(new), len(new) - sum(new), refused)


class Intake:
    """Takes events in for one process.

    Args:
        store: what keeps them.
        letters: where those go that are not sound.
        most_waiting: events that may wait.
        extra_types: event types that are known beside ``EVENT_TYPES``.
        clock: gives the time in Unix microseconds.
    """

    def __init__(
        self,
        store: Store,
        letters: DeadLetters,
        most_waiting: int,
        extra_types: Sequence[str] = (),
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._store, self._letters, self._most, self._clock = store, letters, most_waiting, clock
        self._types = frozenset((*EVENT_TYPES, *extra_types))
        self._line: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self.waiting = 0
        """Events that are not durable yet."""

    async def track(self, raws: Sequence[Any], source: str = "") -> Outcome:
        """Take events in, and return when what is sound is durable.

        Args:
            raws: events as callers give them.
            source: who sent them, for the dead letters.

        Raises:
            BusyError: if too many wait.
            ServerError: if they cannot be kept; then none of them is, and they may be sent again.
        """
        if self.waiting + len(raws) > self._most:
            raise BusyError(f"{self.waiting:,} events wait to be kept already (serve.max_track_waiting); send these again later.")
        now_us = self._clock()
        events, refused = _sorted(raws, self._types, now_us)
        waiting = _Waiting(events, _letters(raws, refused, source, now_us), asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        self.waiting += len(raws)
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush())
        try:
            new = await asyncio.shield(waiting.done)
        finally:
            self.waiting -= len(raws)
        kept = [event for event, is_new in zip(events, new, strict=True) if is_new]
        return Outcome(sum(new), len(new) - sum(new), refused, kept)

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._flusher is not None:
            await self._flusher
        self._thread.shutdown()

    async def _flush(self) -> None:
        """Keep what waits, batch by batch, until nothing does."""
        try:
            while self._line:
                batch = self._next()
                call = asyncio.get_running_loop().run_in_executor(self._thread, self._keep, batch)
                try:
                    new = await call
                except Exception as error:  # noqa: BLE001 - whoever waits gets it
                    for waiting in batch:
                        if not waiting.done.done():
                            waiting.done.set_exception(error)
                            waiting.done.exception()  # who gave up meanwhile does not look at it
                else:
                    _hand_out(batch, new)
        finally:
            self._flusher = None

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        count = 0
        while self._line and (not batch or count + len(self._line[0].events) <= _AT_ONCE):
            batch.append(self._line.pop(0))
            count += len(batch[-1].events)
        return batch

    def _keep(self, batch: Sequence[_Waiting]) -> list[bool]:
        self._letters.write([letter for waiting in batch for letter in waiting.letters])
        events = [event for waiting in batch for event in waiting.events]
        return self._store.add(events, self._clock()) if events else []


def _hand_out(batch: Sequence[_Waiting], new: Sequence[bool]) -> None:
    start = 0
    for waiting in batch:
        end = start + len(waiting.events)
        if not waiting.done.done():
            waiting.done.set_result(list(new[start:end]))
        start = end


def _sorted(raws: Sequence[Any], types: frozenset[str], now_us: int) -> tuple[list[Tracked], dict[int, Refused]]:
    events: list[Tracked] = []
    refused: dict[int, Refused] = {}
    for place, raw in enumerate(raws):
        found = checked(raw, now_us, types)
        if isinstance(found, Refused):
            refused[place] = found
        else:
            events.append(found)
    return events, refused


def _letters(raws: Sequence[Any], refused: dict[int, Refused], source: str, now_us: int) -> list[dict[str, Any]]:
    return [
        {"reason": why.reason, "detail": why.detail, "received_us": now_us, "source": source, "event": raws[place]}
        for place, why in refused.items()
    ]
