"""The items to leave out for a shopper at a time, by ``recommend.leave_out``, from all events strictly before it."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from workflows.events.asof import AsOf, Bools, Ints, expand, parts_of
from workflows.events.event_log import EventLog, ragged_strings
from workflows.events.schema import REFUND
from workflows.features.shopper import ShopperFeatures
from workflows.settings import LeaveOut

_PURCHASE: Final = "purchase"
_PAIRS: Final = 4_000_000
"""(query, item) pairs that are looked at together."""


class LeftOut:
    """The rule of ``[recommend] leave_out`` over a log.

    - ``recent``: the shopper's last distinct items, as many as a query looks back on.
    - ``purchased``: what the shopper has bought more often than returned. A refund undoes one purchase of its item; one without a
      purchase before it undoes nothing.
    - ``interacted``: everything that the shopper has ever taken an interest in.
    - ``nothing``.

    Args:
        log: the coded events.
        history: their interactions.
        rule: which of these.
    """

    def __init__(self, log: EventLog, history: ShopperFeatures, rule: LeaveOut) -> None:
        self.rule = rule
        self._history = history
        self._width = max(len(log.items), 1)
        code, time, times = self._changes(log)
        self._codes = np.unique(code)
        self._times = times
        self._as_of = AsOf(code, time)

    def _changes(self, log: EventLog) -> tuple[Ints, Ints, Ints]:
        """Return when which pair of key and item is left out how many times over, sorted by (pair, time); none for ``recent``."""
        if self.rule == "interacted":
            code, time = self._code(self._history.key, self._history.item), self._history.time
            order = np.lexsort((time, code))
            first = order[np.unique(code[order], return_index=True)[1]]
            return code[first], time[first], np.ones(len(first), dtype=np.int64)
        if self.rule != "purchased":
            none = np.empty(0, dtype=np.int64)
            return none, none, none
        bought, returned = log.is_kind(_PURCHASE), log.is_kind(REFUND)
        rows = np.flatnonzero(bought | returned)
        code, time = self._code(log.key[rows], log.item[rows]), log.time[rows]
        order = np.lexsort((np.arange(len(rows)), time, code))
        step = np.where(bought[rows], 1, -1)[order]
        return code[order], time[order], _balance(step, code[order])

    def _code(self, key: Ints, item: Ints) -> Ints:
        return key * self._width + item

    def hides(self, key: Ints, anchor: Ints, item: Ints, recent: Ints) -> Bools:
        """Return whether an item is left out.

        Args:
            key: int64 [Q], history key.
            anchor: int64 [Q], microseconds; only what is strictly before counts.
            item: int64 [Q], item code.
            recent: int64 [Q, L], the recent items as ``ShopperFeatures.recent`` gives them.

        Returns:
            bool [Q].
        """
        if self.rule == "recent":
            found: Bools = (self._history.recent_codes(recent, self._history.item) == item[:, None]).any(axis=1)
            return found
        hidden: Bools = self.times(key, anchor, item) > 0
        return hidden

    def hides_of(self, rows: Ints) -> Bools:
        """Tell of interactions, rows [Q] of the history, whether their own item was left out at their instant: bool [Q]."""
        history = self._history
        key, time = history.key[rows], history.time[rows]
        return self.hides(key, time, history.item[rows], history.recent(*history.bounds(key, time)))

    def times(self, key: Ints, anchor: Ints, item: Ints) -> Ints:
        """Count how often each item was bought and not returned, as in ``hides``: int64 [Q]; of other rules 1 where it is left out."""
        start, stop = self._as_of.bounds(self._code(key, item), anchor)
        return np.where(stop > start, np.append(self._times, 0)[stop - 1], 0)  # row -1 reads the appended value

    def pairs(self, key: Ints, anchor: Ints, recent: Ints) -> tuple[Ints, Ints]:
        """List what is left out for each query.

        Args:
            key: int64 [Q], as in ``hides``.
            anchor: int64 [Q], likewise.
            recent: int64 [Q, L], likewise.

        Returns:
            Number of the query and item code, int64 [P] each, in order of both.
        """
        if self.rule == "recent":
            query, place = np.nonzero(recent >= 0)
            found = self._code(query, self._history.item[recent[query, place]])
            return np.divmod(np.sort(found), self._width)
        start, stop = (np.searchsorted(self._codes, (key + more) * self._width).astype(np.int64) for more in (0, 1))
        none = np.empty(0, dtype=np.int64)
        queries, items = [none], [none]
        for part in parts_of(stop - start, _PAIRS):
            place, row = expand(start[part], stop[part])
            query, item = part[place], self._codes[row] % self._width
            kept = self.hides(key[query], anchor[query], item, recent[:0])
            queries.append(query[kept])
            items.append(item[kept])
        return np.concatenate(queries), np.concatenate(items)


def left_out_lists(items: pl.Series, query: Ints, item: Ints, queries: int) -> pl.Series:
    """Write what ``LeftOut.pairs`` gives as one list of ids a query.

    Args:
        items: item ids, which the codes index.
        query: int64 [P], ascending.
        item: int64 [P].
        queries: Q.

    Returns:
        ``left_out``, List(String) [Q].
    """
    return ragged_strings(items, np.bincount(query, minlength=queries).astype(np.int64), item).alias("left_out")


def left_out_codes(query: Ints, item: Ints, queries: int) -> pl.Series:
    """Write the same as one list of item codes a query, which are the rows of the snapshot's items: ``left_out``, List(Int32) [Q]."""
    pairs = (
        pl.DataFrame({"query": query, "left_out": item.astype(np.int32)}).group_by("query", maintain_order=True).agg("left_out")
    )
    every = pl.DataFrame({"query": np.arange(queries)}).join(pairs, on="query", how="left", maintain_order="left")
    return every.select(pl.col("left_out").fill_null(pl.lit([], pl.List(pl.Int32))))["left_out"]


def _balance(step: Ints, group: Ints) -> Ints:
    """Return the running sum of ``step`` [N] within each group of a sorted ``group`` [N], which never falls below 0: int64 [N]."""
    total = np.cumsum(step)
    number = np.cumsum(np.append(0, np.diff(group) != 0)[: len(group)])
    before = np.append(0, total)[np.searchsorted(number, number)]  # of all earlier groups
    own = total - before
    apart = number * (2 * len(step) + 2)  # lets no minimum of an earlier group reach into a later one
    lowest = np.minimum.accumulate(own - apart) + apart
    balance: Ints = own - np.minimum(lowest, 0)
    return balance
