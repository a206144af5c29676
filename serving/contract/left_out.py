"""The file of a repository that tells what must not be recommended to each shopper, for answers that the gateway bars it from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from serving.contract.arrays import read_arrays
from serving.contract.history import Lists, row_of
from workflows.events.kinds import PURCHASE, REFUND

FILE: Final = "left_out.npz"


class Event(Protocol):
    """What is read of an event."""

    @property
    def item_id(self) -> str:
        """Its item."""

    @property
    def event_type(self) -> str:
        """Its type."""


@dataclass(frozen=True)
class LeftOut:
    """What is left out as of an export, by catalogue indices, and the rule by which that goes on.

    Attributes:
        rule: ``recent``, ``purchased``, ``interacted`` or ``nothing``.
        kinds: the types of events that are interactions.
        keys: ``key_of`` (``workflows.features.live.past``) of each shopper, ascending, uint64 [U].
        items: what is left out beside the recent items.
        times: how many purchases of each there are that no refund has undone, int32 [P].
        recents: recent items, oldest first, int32 [U, L]; -1 pads, and N of one that the catalogue does not have.
    """

    rule: str
    kinds: frozenset[str]
    keys: npt.NDArray[np.uint64]
    items: Lists
    times: npt.NDArray[np.int32]
    recents: npt.NDArray[np.int32]

    def of(self, user: str, since: Sequence[Event], place_of: Callable[[str], int | None]) -> set[int]:
        """Return catalogue indices of what must not be recommended to a shopper now.

        Args:
            user: their id; one who is not known has no more than the events.
            since: what they did since the export, oldest first.
            place_of: gives the catalogue index of an item; None where it has none.
        """
        row = row_of(self.keys, user)
        acted = [event.item_id for event in since if event.event_type in self.kinds]
        stored = [] if row is None else [int(item) for item in self.recents[row] if item >= 0]
        if self.rule in ("recent", "interacted"):
            names = [*stored, *((place if (place := place_of(item)) is not None else item) for item in acted)]
            latest = list(dict.fromkeys(reversed(names)))
            recent = {name for name in latest[: self.recents.shape[1]] if isinstance(name, int)}
            if self.rule == "recent":
                return recent
            everything = {name for name in names if isinstance(name, int)}
            return everything | (set() if row is None else set(self.items.of(row)))
        return self._bought(row, since, place_of) if self.rule == "purchased" else set()

    def _bought(self, row: int | None, since: Sequence[Event], place_of: Callable[[str], int | None]) -> set[int]:
        owned: dict[int, int] = {}
        if row is not None:
            start, stop = self.items.starts[row], self.items.starts[row + 1]
            owned = dict(zip(self.items.of(row), self.times[start:stop].tolist(), strict=True))
        for event in since:
            place = place_of(event.item_id)
            if place is not None and event.event_type == PURCHASE:
                owned[place] = owned.get(place, 0) + 1
            elif place is not None and event.event_type == REFUND:
                owned[place] = max(owned.get(place, 0) - 1, 0)
        return {place for place, times in owned.items() if times}

    def write(self, path: Path) -> None:
        """Write the file; equal content gives equal bytes."""
        with path.open("wb") as stream:
            np.savez(
                stream,
                rule=np.array([self.rule, *sorted(self.kinds)]),
                keys=self.keys,
                starts=self.items.starts,
                items=self.items.items,
                times=self.times,
                recents=self.recents,
            )

    @classmethod
    def read(cls, path: Path) -> LeftOut:
        """Read what :meth:`write` wrote.

        Raises:
            RunError: if it is not that.
        """
        with read_arrays(path) as content:
            rule, *kinds = content["rule"].tolist()
            lists = Lists(content["starts"], content["items"])
            return cls(rule, frozenset(kinds), content["keys"], lists, content["times"], content["recents"])
