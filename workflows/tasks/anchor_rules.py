"""Anchor rules: users and items every so many days, sessions after so many events."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from workflows.events.asof import Bools, Ints
from workflows.events.event_log import DAY_US, EventLog
from workflows.events.sessions import session_rows
from workflows.features.family import Moments
from workflows.features.timeline import Timeline
from workflows.tasks.task import AnchorRule, Entity


def of_kinds(log: EventLog, kinds: tuple[str, ...]) -> Bools:
    """Return which events are of one of ``kinds``, of any interaction where there are none: bool [N]."""
    return log.kind.is_in(list(kinds)).to_numpy() if kinds else log.interaction


@dataclass(frozen=True)
class EveryDays(AnchorRule):
    """Asks about each active user or item at ``start`` and every so many days after it.

    Attributes:
        entity: ``USER`` (anonymous sessions are not asked about) or ``ITEM``.
        days: the step.
        active_within_days: who had an event in so many days before the anchor, ``anchor - days <= time < anchor``, is active; None
            means ever before.
        active_events: the event types that show activity; empty for all interactions.
        windows: how many windows of the label, one after another, are each asked about.
    """

    entity: Entity
    days: float
    active_within_days: float | None = None
    active_events: tuple[str, ...] = ()
    windows: int = 1

    @property
    def every_us(self) -> int:  # type: ignore[override]
        """The step in microseconds."""
        return round(self.days * DAY_US)

    def moments(self, log: EventLog, start: int, stop: int) -> Moments:
        """Return the active users or items of each instant of the grid."""
        chosen = of_kinds(log, self.active_events)
        if self.entity is Entity.USER:
            chosen = chosen & (log.users != "").to_numpy()[log.key]
        seen = Timeline(log, log.key if self.entity is Entity.USER else log.item, chosen)
        known = np.unique(seen.group)
        who, when = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for instant in range(start, stop, self.every_us):
            at = Moments(known, np.full(len(known), instant, dtype=np.int64))
            first, last = seen.bounds(at, self.active_within_days)
            active = known[last > first]
            who.append(active)
            when.append(np.full(len(active), instant, dtype=np.int64))
        at = Moments(np.concatenate(who), np.concatenate(when))
        if self.windows == 1:
            return at
        rows = np.repeat(np.arange(len(at), dtype=np.int64), self.windows)
        return replace(at.take(rows), ahead=np.tile(np.arange(self.windows, dtype=np.int64), len(at)))


@dataclass(frozen=True)
class AfterEvents(AnchorRule):
    """Asks about each session one microsecond after its n-th interaction, for several n.

    Interactions at one instant are seen together: where the third follows at the instant of the first, one question is asked.

    Attributes:
        after: the numbers n.
    """

    after: tuple[int, ...]

    def moments(self, log: EventLog, start: int, stop: int) -> Moments:
        """Return the sessions after their n-th interactions."""
        events = Timeline(log, session_rows(log), log.interaction)
        nth = _places(events.group) + 1
        chosen = np.isin(nth, self.after) & (events.time + 1 >= start) & (events.time + 1 < stop)
        asked = np.unique(np.stack([events.time[chosen] + 1, events.group[chosen]]), axis=1)
        return Moments(asked[1], asked[0])


def _places(group: Ints) -> Ints:
    """Place of each row in its group, from 0; int64 [N], rows sorted by group."""
    rows = np.arange(len(group), dtype=np.int64)
    first = np.searchsorted(group, group, side="left")
    return rows - first
