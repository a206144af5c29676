"""Query features: a shopper's history strictly before the anchor."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from workflows.events.asof import AsOf, Bools, Floats, Ints, before, group_starts, running_sum
from workflows.events.event_log import DAY_US, HOUR_US, MINUTE_US, EventLog, float32, string_lists
from workflows.events.sessions import Runs, find_runs
from workflows.features import columns
from workflows.features.own_days import OwnDays
from workflows.features.own_shoppers import OwnShoppers

_MONDAY_OFFSET = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True)
class Queries:
    """Raw query features as arrays, one row a query.

    Attributes:
        key: int64 [Q], history key.
        anchor: int64 [Q], microseconds.
        continuous: float64 [Q] by name (``columns.QUERY_CONTINUOUS``), NaN = unknown.
        recent: int64 [Q, L], rows of the history's interactions, one a distinct item, most recent FIRST; -1 = none.
        stored: int64 [Q], microseconds; own columns are those known strictly before. None means the anchors.
    """

    key: Ints
    anchor: Ints
    continuous: dict[str, Floats]
    recent: Ints
    stored: Ints | None = None


@dataclass(frozen=True)
class Added:
    """Sums over the events that queries have beyond the log's, float64 [Q] each: how many, by counted type, and with a price.

    Attributes:
        events: how many.
        counts: how many of each column of ``columns.COUNTED_KINDS``.
        priced: how many with a known price.
        prices: the sum of those prices.
    """

    events: Floats
    counts: dict[str, Floats]
    priced: Floats
    prices: Floats


class ShopperFeatures:
    """The interactions of every key in time order, ready to be asked what was known before an instant.

    Args:
        log: the coded events; only interactions are history.
        session_gap_minutes: a longer pause ends the running session.
        recent_items: L, how many distinct last items are looked back on.
        own: the shop's own columns of shoppers; None where it has none.
        days: the shop's own columns of days; None where it has none.
    """

    def __init__(
        self,
        log: EventLog,
        session_gap_minutes: int,
        recent_items: int,
        own: OwnShoppers | None = None,
        days: OwnDays | None = None,
    ) -> None:
        self.own, self.days = own, days
        rows = np.flatnonzero(log.interaction)
        self._log = log
        self._length = recent_items
        self.key, self.item, self.time, self.row = log.key[rows], log.item[rows], log.time[rows], log.row[rows]
        self.category, self.brand = log.category[rows], log.brand[rows]
        price = log.price[rows]
        starts = group_starts(self.key)
        priced = ~np.isnan(price)
        counted = {name: log.is_kind(kind)[rows] for name, kind in columns.COUNTED_KINDS.items()}
        self._counts = {name: running_sum(flags.astype(np.float64), starts) for name, flags in counted.items()}
        self._price_sum = running_sum(np.where(priced, price, 0.0), starts)
        self._priced = running_sum(priced.astype(np.float64), starts)
        self._as_of = AsOf(self.key, self.time)
        self.runs: Runs = find_runs(self.key, self.time, session_gap_minutes)

    def bounds(self, key: Ints, anchor: Ints) -> tuple[Ints, Ints]:
        """Rows ``start <= row < stop`` of the key's interactions strictly before the anchor: int64 [Q] each."""
        return self._as_of.bounds(key, anchor)

    def queries(self, key: Ints, anchor: Ints, recent: Ints | None = None) -> Queries:
        """Compute the features of queries from the interactions strictly before their anchors.

        Args:
            key: int64 [Q]; a key that the log does not know (-1, say) is a stranger.
            anchor: int64 [Q], microseconds.
            recent: int64 [Q, L], what ``recent`` gives for these queries, where the caller has it already.
        """
        start, stop = self.bounds(key, anchor)
        found = self.recent(start, stop) if recent is None else recent
        return Queries(key, anchor, self.continuous(anchor, start, stop), found)

    def priced(self, key: Ints, anchor: Ints) -> Floats:
        """Count the interactions with a price, strictly before the anchors: float64 [Q]."""
        return before(self._priced, *self.bounds(key, anchor))

    def continuous(self, anchor: Ints, start: Ints, stop: Ints, added: Added | None = None) -> dict[str, Floats]:
        """Compute ``columns.QUERY_CONTINUOUS`` of ranges of interactions.

        Args:
            anchor: int64 [Q], microseconds.
            start: int64 [Q], first row of the key.
            stop: int64 [Q], one past the last row that may be seen.
            added: further events at the microsecond before the anchors; None means that there are none.

        Returns:
            float64 [Q] by name, NaN = unknown.
        """
        more = np.zeros(len(anchor)) if added is None else added.events
        seen, told = stop > start, more > 0
        last = np.where(seen, stop - 1, 0)
        features: dict[str, Floats] = {"user_events": (stop - start) + more}
        features |= {name: before(running, start, stop) for name, running in self._counts.items()}
        priced, prices = before(self._priced, start, stop), before(self._price_sum, start, stop)
        if added is not None:
            features |= {name: features[name] + added.counts[name] for name in self._counts}
            priced, prices = priced + added.priced, prices + added.prices
        since = anchor - self._at(self.time, last)
        features["user_recency_hours"] = np.where(told, 1 / HOUR_US, np.where(seen, since / HOUR_US, np.nan))
        features["user_mean_price"] = np.where(priced > 0, prices / np.maximum(priced, 1), np.nan)
        run = self._at(self.runs.starts, last)
        running = seen & (since - told <= self.runs.gap_us)
        features["session_events"] = np.where(running, last - run + 1, 0) + more
        minutes = np.where(running, (anchor - self._at(self.time, run)) / MINUTE_US, 0.0)
        features["session_minutes"] = np.where(told & ~running, 1 / MINUTE_US, minutes)
        return {name: features[name] for name in columns.QUERY_CONTINUOUS}

    def followed_by(self, item: Ints, category: Ints, brand: Ints) -> ShopperFeatures:
        """Return a history in which ``recent`` rows from the number of interactions on are these further events, [E] each."""
        other = copy(self)
        other.item, other.category, other.brand = (
            np.concatenate(pair) for pair in ((self.item, item), (self.category, category), (self.brand, brand))
        )
        return other

    @staticmethod
    def _at(values: Ints, rows: Ints) -> Ints:
        return values[rows] if len(values) else np.zeros(len(rows), dtype=np.int64)

    def recent(self, start: Ints, stop: Ints) -> Ints:
        """Find the last distinct items of ranges of interactions.

        Args:
            start: int64 [Q], first row of the key.
            stop: int64 [Q], one past the last row that may be seen.

        Returns:
            int64 [Q, L], rows, one a distinct item (its latest), most recent first, -1 where there are fewer than L distinct items.
        """
        from workflows.features.recent_loop import last_distinct

        found = np.full((len(start), self._length), -1, dtype=np.int64)
        last_distinct(self.item, start, stop, np.lexsort((stop, start)), found)
        return found

    @cached_property
    def previous_of_item(self) -> Ints:
        """Return for each row the row of the same key's previous interaction with the same item, -1 where there is none."""
        order = np.lexsort((np.arange(len(self.key)), self.item, self.key))
        previous = np.full(len(self.key), -1, dtype=np.int64)
        same = (np.diff(self.key[order]) == 0) & (np.diff(self.item[order]) == 0)
        previous[order[1:][same]] = order[:-1][same]
        return previous

    def recent_codes(self, recent: Ints, codes: Ints) -> Ints:
        """Look ``codes`` [interactions] up for ``recent`` rows [Q, L]: int64 [Q, L], -1 where there is no item."""
        return np.append(codes, -1)[recent]  # row -1 reads the appended -1

    def is_known(self, key: Ints, instant: Ints) -> Bools:
        """Return which shoppers a server knows by id: with an interaction, or listed, strictly before instants; bool [Q]."""
        start, stop = self.bounds(key, instant)
        named = np.append((self._log.users != "").to_numpy(), False)[key]
        known: Bools = named & (stop > start)
        return known if self.own is None else known | (named & self.own.listed(key, instant))

    def frame(self, queries: Queries, *, lists: bool) -> pl.DataFrame:
        """Write queries as a frame in the order of ``FeatureSet.query``.

        Args:
            queries: from ``queries``; a key below 0 is a stranger, who has no id.
            lists: whether the recent items, categories and brands are among the columns (most recent LAST).
        """
        users = self._log.users.gather(np.maximum(queries.key, 0)).set(pl.Series(queries.key < 0), "")
        own = self._own_columns(queries)
        data = {"user_id": users, **clock(queries.anchor)}
        data |= {name: values for name, values in own.items() if values.dtype == pl.String}
        data |= {name: float32(values) for name, values in queries.continuous.items()}
        data |= {name: values for name, values in own.items() if values.dtype != pl.String}
        if lists:
            data |= self.list_columns(queries.recent)
        return pl.DataFrame(data)

    def _own_columns(self, queries: Queries) -> dict[str, pl.Series]:
        known = queries.anchor if queries.stored is None else queries.stored
        own = {} if self.own is None else self.own.frame(queries.key, known).to_dict()
        return own if self.days is None else own | self.days.frame(queries.anchor // DAY_US, known).to_dict()

    def list_columns(self, recent: Ints) -> dict[str, pl.Series]:
        """Write ``recent`` rows [Q, L] as the columns ``columns.QUERY_LISTS``, most recent LAST."""
        tables = (self._log.items, self._log.categories, self._log.brands)
        oldest_first = recent[:, ::-1]
        return {
            name: string_lists(table, self.recent_codes(oldest_first, codes))
            for name, table, codes in zip(columns.QUERY_LISTS, tables, (self.item, self.category, self.brand), strict=True)
        }


def clock(anchor: Ints) -> dict[str, pl.Series]:
    """Hour (0 to 23) and weekday (Monday = 1) of instants [Q] in microseconds, UTC: Int64 each."""
    days = anchor // DAY_US
    return {
        "hour": pl.Series(values=anchor % DAY_US // HOUR_US, dtype=pl.Int64),
        "weekday": pl.Series(values=(days + _MONDAY_OFFSET) % 7 + 1, dtype=pl.Int64),
    }
