"""What a family may look at while it serves: events of one entity as arrays, in the order of their time, and those of any item.

The gateway appends what happened since the export to what the export knew, one event after the other, and asks the families of a task.
``cartwheel.testing.FeatureFamilyConformance`` holds the values to those of ``compute`` on a log that was replayed so.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from workflows.events.kinds import EVENT_TYPES

DAY_US: Final = 86_400_000_000
MINUTE_US: Final = 60_000_000
RECORD: Final = np.dtype(
    [("time", "<i8"), ("user", "<u8"), ("item", "<u8"), ("session", "<u8"), ("kind", "u1"), ("price", "<f8"), ("quantity", "<f8")]
)
"""One event: Unix microseconds, three keys of :func:`key_of`, the place of its type in ``EVENT_TYPES`` (``OTHER`` of a shop's own), and
price and quantity, NaN where it has none. The key of a session is 0 where the event names none."""
OTHER: Final = 255
_KINDS: Final = {name: place for place, name in enumerate(EVENT_TYPES)}

Events = npt.NDArray[Any]
"""[N] of ``RECORD``, in the order of their time."""
Value = float | int | None
"""None and NaN where it is not known."""


def key_of(text: str) -> int:
    """Return 64 bits that stand for an id; 0 stands for none."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "little") if text else 0


def kind_code(name: str) -> int:
    """Return what ``RECORD`` holds of an event type."""
    return _KINDS.get(name, OTHER)


def events_of(rows: Sequence[tuple[int, int, int, int, int, float | None, float | None]]) -> Events:
    """Return events from plain values in the order of ``RECORD``; None is not known."""
    filled = [(*row[:5], *(np.nan if value is None else value for value in row[5:])) for row in rows]
    return np.array(filled, RECORD)


def appended(events: Events, more: Events) -> Events:
    """Return events with further ones, each where its time puts it, behind those of the same instant."""
    if not len(more):
        return events
    both: Events = np.concatenate([events, more])
    return np.take(both, np.argsort(both["time"], kind="stable"))


def before(events: Events, anchor: int) -> Events:
    """Return the events strictly before an instant."""
    past: Events = events[: np.searchsorted(events["time"], anchor)]
    return past


def sessions_of(events: Events, gap_us: int) -> npt.NDArray[np.int64]:
    """Return the number of each event's session among those of one shopper, as ``workflows.events.sessions.with_sessions`` parts them.

    Args:
        events: those of the shopper.
        gap_us: a longer pause between two events that name no session starts a new one.
    """
    unnamed = events["session"] == 0
    pauses = np.diff(events["time"][unnamed], prepend=events["time"][unnamed][:1]) > gap_us
    names = events["session"].copy()
    names[unnamed] = np.cumsum(pauses).astype(np.uint64)
    _, numbers = np.unique(np.stack([unnamed.astype(np.uint64), names]), axis=1, return_inverse=True)
    return np.asarray(numbers, np.int64).reshape(-1)


@dataclass(frozen=True)
class LivePast:
    """What a family may look at.

    Attributes:
        anchor: when it is asked, Unix microseconds; every event lies strictly before it.
        events: of the user, of the item, or of the session's shopper.
        of_item: returns the events of an item by its key, likewise.
        gap_us: see :func:`sessions_of`.
        price: what the item costs now, where the shop has said so; else None, and then it is what its last event says.
    """

    anchor: int
    events: Events
    of_item: Callable[[int], Events]
    gap_us: int
    price: float | None = None

    def of_kind(self, kind: str) -> Events:
        """Return the events of one type."""
        return of_kind(self.events, kind)


class LiveFamily(ABC):
    """One family, asked about one moment."""

    @abstractmethod
    def values(self, past: LivePast) -> Mapping[str, Value]:
        """Return the family's columns as ``FeatureFamily.compute`` has them, but for rounding to float32."""


def of_kind(events: Events, kind: str) -> Events:
    """Return the events of one type."""
    found: Events = events[events["kind"] == kind_code(kind)]
    return found


def within(events: Events, anchor: int, days: float) -> Events:
    """Return the events of the window of so many days that ends with the anchor."""
    found: Events = events[np.searchsorted(events["time"], anchor - round(days * DAY_US)) :]
    return found


def days_since(events: Events, place: int, anchor: int) -> float | None:
    """Return the days from one of the events to the anchor; None where there is no event."""
    return (anchor - int(events["time"][place])) / DAY_US if len(events) else None


def units(events: Events) -> npt.NDArray[np.float64]:
    """Return the quantity of each event, 1 where it has none."""
    return np.where(np.isnan(events["quantity"]), 1.0, events["quantity"])


def mean(values: npt.NDArray[np.float64]) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.sum() / len(known)) if len(known) else None


def ratio(over: float | None, under: float | None) -> float | None:
    """Return the quotient; None where one is not known or the divisor is not above 0."""
    return over / under if over is not None and under is not None and under > 0 else None
