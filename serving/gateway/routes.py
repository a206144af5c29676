"""The versions that are served, mostly one: which Triton answers for each, and which requests it gets.

While a new version is brought in, two are served side by side. Who gets the new one is decided by a hash of the shopper, so that the same
shopper sees the same version as long as the shares stand, and of those that had it none loses it when its share grows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from serving.contract.reference import FILE, Reference
from serving.experiments.assignment import place_of
from serving.gateway.ladder import Ladder
from serving.gateway.options import Lane
from serving.gateway.rulebook import Rulebook
from serving.gateway.served import Served
from serving.gateway.tally import Clicks, Tally
from serving.gateway.task_columns import TaskColumns
from serving.gateway.upstream import Upstream
from serving.settings import ServeSettings
from serving.store.item_state import ItemState

_PAUSE_SECONDS: Final = 0.01
_Tables = tuple[Ladder | None, Rulebook | None, Reference | None, TaskColumns | None]
"""What is read of a version: ladder, rulebook, reference and columns of tasks."""


@dataclass
class Route:
    """A version that is served.

    Attributes:
        repository: its files, which are read once.
        served: what it offers.
        upstream: its Triton.
        ladder: answers ``recommend`` where that does not; None where nothing does.
        rulebook: the rules of the shop over its items; None where it holds no items.
        reference: what it expects to see; None where an older export did not write it.
        columns: gives declared tasks what happened since the export; None where none follows from events.
        share: of the shoppers.
        tally: what is counted of it.
        visits: requests that it was chosen for and that have not ended.
    """

    repository: Path
    served: Served
    upstream: Upstream
    ladder: Ladder | None
    rulebook: Rulebook | None = None
    reference: Reference | None = None
    columns: TaskColumns | None = None
    share: float = 1.0
    tally: Tally = field(default_factory=Tally)
    visits: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for it, and its Triton has nothing to do."""
        return not (self.visits or self.upstream.under_way or self.upstream.waiting)


class Routes:
    """All versions that are served.

    Args:
        settings: the section ``[serve]``.
        opened: makes the connection to a Triton from its target.
    """

    def __init__(self, settings: ServeSettings, opened: Callable[[str], Upstream]) -> None:
        self._settings, self._opened = settings, opened
        self._routes: tuple[Route, ...] = ()
        self._retired: list[Route] = []
        self._salt = ""
        self._states: dict[str, ItemState] = {}
        self.clicks = Clicks()
        """Which version what was clicked came from."""
        self.when_changed: Callable[[], None] = lambda: None
        """Called when what is served has changed."""

    @property
    def main(self) -> Route:
        """The version that most requests get; the first where none has more."""
        return max(self._routes, key=lambda route: route.share)

    @property
    def all(self) -> tuple[Route, ...]:
        """All versions, those without a share included."""
        return self._routes

    @property
    def are_compared(self) -> bool:
        """Whether more than one version is served."""
        return len(self._routes) > 1

    @property
    def under_way(self) -> int:
        """Requests that any Triton was given and has not answered."""
        return sum(route.upstream.under_way for route in (*self._routes, *self._retired))

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return sum(route.upstream.waiting for route in (*self._routes, *self._retired))

    def choose(self, key: Callable[[], str]) -> Route:
        """Return the version for a request.

        Args:
            key: gives the name of the shopper, or of the visit; called only where there is a choice.
        """
        if len(self._routes) == 1:
            return self._routes[0]
        place = place_of(key(), self._salt)
        for route in reversed(self._routes):  # the newest has the lowest places, so that who has it keeps it when its share grows
            place -= route.share
            if place < 0:
                return route
        return self.main

    async def apply(self, lanes: Sequence[Lane]) -> None:
        """Serve these versions from now on, the newest last, and return when those that are no longer served have nothing left to do.

        Raises:
            RunError: if a version cannot be read; then nothing changes.
        """
        known = {(route.repository, route.upstream.target): route for route in self._routes}
        found = []
        for lane in lanes:
            if (route := known.get((lane.repository, lane.triton))) is None:
                served, tables = await asyncio.to_thread(self._read, lane.repository)
                route = Route(lane.repository, served, self._opened(lane.triton), *tables)
            found.append((route, lane.share))
        before = self._routes
        for route, share in found:
            route.share, route.tally = share, Tally()
            if route not in before:
                _set_items(route, [*self._states.values()])
        self._routes = tuple(route for route, _ in found)
        self._salt = self._routes[-1].served.version
        retired = [route for route in before if route not in self._routes]
        self._retired += retired
        self.when_changed()
        await self._finished(retired, self._settings.drain_seconds)
        self._retired = [route for route in self._retired if route not in retired]
        for route in retired:
            route.upstream.close()

    async def finish(self, seconds: float) -> None:
        """Wait until nothing is under way or waits, at most so long."""
        await asyncio.gather(*(route.upstream.finish(seconds) for route in (*self._routes, *self._retired)))

    def set_items(self, states: Sequence[ItemState]) -> tuple[str, ...]:
        """Set the state of items in every version, and return those that the one that most requests get does not know."""
        for state in states:
            known = self._states.get(state.item_id, state)
            said = {name: value for name, value in state._asdict().items() if value is not None}
            self._states[state.item_id] = known._replace(**said)
        unknown: tuple[str, ...] = ()
        for route in self._routes:
            found = _set_items(route, states)
            unknown = found if route is self.main else unknown
        return unknown

    def _read(self, repository: Path) -> tuple[Served, _Tables]:
        served = Served.read(repository, self._settings)
        ladder = Ladder.of(repository) if self._settings.ladder == "on" else None
        expected = Reference.read(repository / FILE) if (repository / FILE).is_file() else None
        rulebook = Rulebook.of(repository, self._settings.rules, served.max_k)
        return served, (ladder, rulebook, expected, TaskColumns.of(repository, served))

    async def _finished(self, routes: Sequence[Route], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not all(route.is_idle for route in routes) and time.monotonic() < deadline:
            await asyncio.sleep(_PAUSE_SECONDS)


def _set_items(route: Route, states: Sequence[ItemState]) -> tuple[str, ...]:
    """Set the state of items in one version, and return those that it does not know."""
    if route.columns is not None:
        route.columns.set_items(states)
    return () if route.rulebook is None else route.rulebook.assortment.update(states)
