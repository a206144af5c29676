"""The files of a repository that hold the events of the export, for features of declared tasks that are computed at the question.

``behaviour.npy`` holds the events of users and anonymous visits, one history after the other and each in the order of time; it is read
where it is needed and never whole. ``behaviour.npz`` says where each history lies, and which events each item has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from serving.contract.arrays import AGAIN, read_arrays
from serving.contract.history import place_of
from workflows.features.live.past import RECORD, Events

EVENTS: Final = "behaviour.npy"
INDEX: Final = "behaviour.npz"
_ARRAYS: Final = ("users", "user_starts", "items", "item_starts", "of_items")

Keys = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Behaviour:
    """Every event that the export knows.

    Attributes:
        events: [N] of ``RECORD``, by user and then by time.
        users: keys of the names of users and visits that ``shopper_key`` gives, ascending, uint64 [U].
        user_starts: where the events of each begin, int64 [U + 1].
        items: keys of the items, ascending, uint64 [I].
        item_starts: where the events of each begin in ``of_items``, int64 [I + 1].
        of_items: places in ``events``, of each item in the order of time, int64 [N].
        last_us: instant of the last event, Unix microseconds.
        gap_us: a longer pause ends a session, microseconds.
    """

    events: Events
    users: Keys
    user_starts: Ints
    items: Keys
    item_starts: Ints
    of_items: Ints
    last_us: int
    gap_us: int

    @classmethod
    def made(cls, events: Events, gap_us: int) -> Behaviour:
        """Return the behaviour of events in the order of the log, in which those of one instant stand as they happened."""
        events = events[np.lexsort((events["time"], events["user"]))]
        of_items = np.lexsort((np.arange(len(events)), events["time"], events["item"]))
        users, user_starts = _parts(events["user"])
        items, item_starts = _parts(events["item"][of_items])
        last = int(events["time"].max()) if len(events) else 0
        return cls(events, users, user_starts, items, item_starts, of_items.astype(np.int64), last, gap_us)

    def of_user(self, key: int) -> Events:
        """Return the events of a user, in the order of time; none of one who is not known."""
        return np.array(self.events[_span(self.users, self.user_starts, key)])

    def of_item(self, key: int) -> Events:
        """Return the events of an item, likewise."""
        places = self.of_items[_span(self.items, self.item_starts, key)]
        return np.array(self.events[places])

    def write(self, folder: Path) -> None:
        """Write both files; equal events give equal bytes."""
        np.save(folder / EVENTS, self.events)
        with (folder / INDEX).open("wb") as stream:
            np.savez(
                stream, **{name: getattr(self, name) for name in _ARRAYS}, of_log=np.array([self.last_us, self.gap_us], np.int64)
            )

    @classmethod
    def read(cls, folder: Path) -> Behaviour:
        """Open what :meth:`write` wrote; the events stay on the disk.

        Raises:
            RunError: if it is not that.
        """
        try:
            events = np.load(folder / EVENTS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise RunError(f"{folder / EVENTS} cannot be read ({error}).", AGAIN) from error
        with read_arrays(folder / INDEX) as content:
            if events.dtype != RECORD or len(events) != len(content["of_items"]):
                raise ValueError(f"{EVENTS} does not fit")
            return cls(events, *(content[name] for name in _ARRAYS), *map(int, content["of_log"]))


def _parts(keys: Keys) -> tuple[Keys, Ints]:
    """Return the distinct keys of an ascending array, and where each begins, with the end."""
    found, starts = np.unique(keys, return_index=True)
    return found, np.append(starts, len(keys)).astype(np.int64)


def _span(keys: Keys, starts: Ints, key: int) -> slice:
    place = place_of(keys, key)
    if place is None:
        return slice(0, 0)
    return slice(int(starts[place]), int(starts[place + 1]))
