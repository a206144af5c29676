"""As-of join: the exact, vectorised lookup strictly before a time that every point-in-time feature uses."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class AsOf:
    """Rows of many groups in time order, and where an instant falls among the rows of its group.

    Groups and instants are replaced by their ranks and packed into one integer, so one binary search a query answers exactly,
    whatever the span of the log (packing raw microseconds would overflow 64 bits).

    Args:
        group: int64 [N], group of each row; rows are sorted by (group, time).
        time: int64 [N], instant of each row in microseconds.
    """

    def __init__(self, group: Ints, time: Ints) -> None:
        self._groups, starts = np.unique(group, return_index=True)
        self._starts: Ints = np.append(starts, len(group)).astype(np.int64)
        self._times = np.unique(time)
        dense = np.repeat(np.arange(len(self._groups), dtype=np.int64), np.diff(self._starts))
        self._width = len(self._times) + 1
        self._codes = dense * self._width + np.searchsorted(self._times, time)

    def bounds(self, group: Ints, time: Ints) -> tuple[Ints, Ints]:
        """Find the rows of a group that lie strictly before an instant.

        Args:
            group: int64 [Q]; a group without rows is fine.
            time: int64 [Q], microseconds.

        Returns:
            ``(start, stop)``, int64 [Q] each: those rows are ``start <= row < stop``; equal where there are none.
        """
        if not len(self._groups):
            empty = np.zeros(len(group), dtype=np.int64)
            return empty, empty
        dense = np.minimum(np.searchsorted(self._groups, group), len(self._groups) - 1).astype(np.int64)
        known = self._groups[dense] == group
        start = self._starts[dense]
        stop = np.searchsorted(self._codes, dense * self._width + np.searchsorted(self._times, time)).astype(np.int64)
        return start, np.where(known, stop, start)

    def count(self, group: Ints, time: Ints) -> Ints:
        """Count the rows of each group strictly before each instant: int64 [Q]."""
        start, stop = self.bounds(group, time)
        return stop - start


def group_starts(group: Ints) -> Ints:
    """Return for each row of a sorted ``group`` [N] the first row of its group, int64 [N]."""
    rows = np.arange(len(group), dtype=np.int64)
    first = np.ones(len(group), dtype=bool)
    first[1:] = group[1:] != group[:-1]
    return np.maximum.accumulate(np.where(first, rows, 0)) if len(group) else rows


def last_valid(valid: Bools, starts: Ints) -> Ints:
    """Return for each row the latest row of its group, itself included, that is ``valid``; -1 where there is none.

    Args:
        valid: bool [N].
        starts: int64 [N], the first row of each row's group (see ``group_starts``).
    """
    rows = np.arange(len(valid), dtype=np.int64)
    latest = np.maximum.accumulate(np.where(valid, rows, -1)) if len(valid) else rows
    return np.where(latest >= starts, latest, -1)


def running_sum(values: Floats, starts: Ints) -> Floats:
    """Sum ``values`` [N] from the first row of each group on, the row itself included: float64 [N].

    Each group is summed afresh: a difference of sums over the whole log would lose digits as the log grows.
    """
    import polars as pl

    frame = pl.DataFrame({"group": starts, "value": values})
    return frame.select(pl.col("value").cum_sum().over("group"))["value"].to_numpy()


def before(running: Floats, start: Ints, stop: Ints) -> Floats:
    """Read a ``running_sum`` strictly before an instant, given its ``AsOf.bounds``: 0 where there are no rows."""
    if not len(running):
        return np.zeros(len(start))
    return np.where(stop > start, running[np.maximum(stop - 1, 0)], 0.0)


def expand(start: Ints, stop: Ints) -> tuple[Ints, Ints]:
    """List the rows of many ranges.

    Args:
        start: int64 [Q], first row of each range.
        stop: int64 [Q], one past its last row.

    Returns:
        ``(query, row)``: for each row of each range, in order, the number of the range and of the row.
    """
    sizes = np.maximum(stop - start, 0)
    query = np.repeat(np.arange(len(start), dtype=np.int64), sizes)
    offsets = np.arange(len(query), dtype=np.int64) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return query, start[query] + offsets


def parts_of(sizes: Ints, rows_at_once: int) -> list[Ints]:
    """Cut ranges into consecutive parts of about ``rows_at_once`` rows, so that ``expand`` of each takes bounded memory.

    Args:
        sizes: int64 [Q], rows of each range; a part of one range may have more than ``rows_at_once``.
        rows_at_once: where a part ends.

    Returns:
        The numbers of the ranges of each part, int64.
    """
    part = np.cumsum(np.maximum(sizes, 0)) // rows_at_once
    return np.split(np.arange(len(sizes), dtype=np.int64), np.flatnonzero(np.diff(part)) + 1)
