"""Counts, sums and latest values of groups of events strictly before instants, over a window or ever."""

from __future__ import annotations

import numpy as np
import polars as pl

from workflows.events.asof import AsOf, Bools, Floats, Ints, before, group_starts, running_sum
from workflows.events.event_log import DAY_US, EventLog
from workflows.features.family import Moments


class Timeline:
    """Some events of a log in the order of (group, time, row in the file), ready to be asked about moments.

    Args:
        log: the coded events.
        group: int64 [N], group of every event of the log.
        chosen: bool [N], the events that count; None for all.
    """

    def __init__(self, log: EventLog, group: Ints, chosen: Bools | None = None) -> None:
        rows = np.arange(len(group), dtype=np.int64) if chosen is None else np.flatnonzero(chosen)
        self.rows: Ints = rows[np.lexsort((log.row[rows], log.time[rows], group[rows]))]
        self.group, self.time = group[self.rows], log.time[self.rows]
        self._starts = group_starts(self.group)
        self._as_of = AsOf(self.group, self.time)

    def bounds(self, at: Moments, days: float | None = None) -> tuple[Ints, Ints]:
        """Find the events of each moment's group strictly before its anchor, and not before the window.

        Args:
            at: the moments; their entities are groups.
            days: length of the window that ends with the anchor, half open: ``anchor - days <= time < anchor``; None means ever.

        Returns:
            ``(start, stop)``, int64 [Q] each, places in ``rows``.
        """
        start, stop = self._as_of.bounds(at.entity, at.anchor)
        if days is not None:
            start = self._as_of.bounds(at.entity, at.anchor - round(days * DAY_US))[1]
        return start, stop

    def count(self, at: Moments, days: float | None = None) -> Floats:
        """Count the events of each moment: float64 [Q]."""
        start, stop = self.bounds(at, days)
        return (stop - start).astype(np.float64)

    def sum(self, values: Floats, at: Moments, days: float | None = None) -> Floats:
        """Sum ``values`` (float64 [N], of the log's events) over the events of each moment: float64 [Q]."""
        running = running_sum(values[self.rows], self._starts)
        start, stop = self._as_of.bounds(at.entity, at.anchor)
        total = before(running, start, stop)
        if days is None:
            return total
        first = self.bounds(at, days)[0]
        # A window without events has no sum, whatever digits the difference has lost.
        return np.where(first < stop, total - before(running, start, first), 0.0)

    def last(self, values: Floats, at: Moments) -> Floats:
        """Return ``values`` ([N]) of each moment's latest event: float64 [Q], NaN where there is none."""
        start, stop = self.bounds(at)
        return self._value(values, stop - 1, stop > start)

    def first(self, values: Floats, at: Moments) -> Floats:
        """Return ``values`` ([N]) of each moment's first event: float64 [Q], NaN where there is none."""
        start, stop = self.bounds(at)
        return self._value(values, start, stop > start)

    def highest(self, values: Floats, at: Moments) -> Floats:
        """Return the highest of ``values`` ([N], none NaN) over each moment's events: float64 [Q], NaN where there is none."""
        frame = pl.DataFrame({"group": self._starts, "value": values[self.rows]})
        running = frame.select(pl.col("value").cum_max().over("group"))["value"].to_numpy()
        start, stop = self.bounds(at)
        there = stop > start
        return np.where(there, np.append(running, np.nan)[np.where(there, stop - 1, len(running))], np.nan)

    def days_since_last(self, at: Moments) -> Floats:
        """Days from each moment's latest event to its anchor: float64 [Q], NaN where there is none."""
        start, stop = self.bounds(at)
        return _days(at, self.time, stop - 1, stop > start)

    def days_since_first(self, at: Moments) -> Floats:
        """Days from each moment's first event to its anchor: float64 [Q], NaN where there is none."""
        start, stop = self.bounds(at)
        return _days(at, self.time, start, stop > start)

    def _value(self, values: Floats, place: Ints, there: Bools) -> Floats:
        if not len(self.rows):
            return np.full(len(place), np.nan)
        return np.where(there, values[self.rows[np.where(there, place, 0)]], np.nan)


def _days(at: Moments, time: Ints, place: Ints, there: Bools) -> Floats:
    if not len(time):
        return np.full(len(at), np.nan)
    return np.where(there, (at.anchor - time[np.where(there, place, 0)]) / DAY_US, np.nan)


def first_of(*parts: Ints) -> Bools:
    """Return which events are the first with their combination of ``parts``, [N] each in time order within a combination: bool [N]."""
    rows = np.arange(len(parts[0]), dtype=np.int64)
    order = np.lexsort((rows, *reversed(parts)))
    new = np.ones(len(rows), dtype=bool)
    new[1:] = np.any([part[order[1:]] != part[order[:-1]] for part in parts], axis=0)
    found = np.empty(len(rows), dtype=bool)
    found[order] = new
    return found


def ratio(over: Floats, under: Floats) -> Floats:
    """Divide [Q] by [Q]: NaN where the divisor is not above 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(under > 0, over / under, np.nan)
