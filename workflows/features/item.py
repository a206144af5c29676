"""Item features as of the last refresh of item statistics before the anchor."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from workflows.events.asof import AsOf, Floats, Ints, before, group_starts, last_valid, running_sum
from workflows.events.event_log import DAY_US, EventLog, float32
from workflows.features import columns
from workflows.features.own_items import OwnItems

NEVER: Final = np.iinfo(np.int64).max


def state_instant(anchor: Ints, state_minutes: int) -> Ints:
    """Return the last refresh not after each anchor: ``floor(anchor, state_minutes)``, counted from 1970 UTC; int64 [Q]."""
    step = state_minutes * 60_000_000
    return anchor // step * step


class ItemHistory:
    """The events of every item in time order, ready to be asked for its statistics at an instant.

    Facts (first seen, category, brand, last price) come from events of every type; counts are of interactions. All of them look
    strictly before the instant.

    Args:
        log: the coded events.
        popularity_days: window of ``item_recent_events``.
        own: the shop's own columns of items; None where it has none.
        listed: int64, the instant from which the shop lists each item of the log; ``NEVER`` of one that no table lists.
    """

    def __init__(self, log: EventLog, popularity_days: float, own: OwnItems | None = None, listed: Ints | None = None) -> None:
        self.own = own
        order = np.lexsort((log.row, log.time, log.item))
        self._log = log
        self._window = round(popularity_days * DAY_US)
        item, time = log.item[order], log.time[order]
        starts = group_starts(item)
        interaction = log.interaction[order]
        self._as_of = AsOf(item, time)
        self._events = running_sum(interaction.astype(np.float64), starts)
        self._purchases = running_sum((interaction & log.is_kind("purchase")[order]).astype(np.float64), starts)
        self._category = _carried(log.category[order], log.category[order] > 0, starts, 0)
        self._brand = _carried(log.brand[order], log.brand[order] > 0, starts, 0)
        price = log.price[order]
        self._price = _carried(price, ~np.isnan(price), starts, np.nan)
        self._time = time
        first = np.flatnonzero(starts == np.arange(len(item)))
        self.first_seen: Ints = np.full(len(log.items), NEVER, np.int64)
        """Instant of the first event of each item; ``NEVER`` of one that is listed and was not seen."""
        self.first_seen[item[first]] = time[first]
        self.on_sale: Ints = self.first_seen if listed is None else np.minimum(self.first_seen, listed)
        """Instant from which each item can be recommended: that of its first event, or from which the shop lists it."""
        self._category_prices = _CategoryPrices(self._category, self._price, time, starts)

    def arrays(self, item: Ints, instant: Ints) -> dict[str, Floats | Ints]:
        """Compute the state of items.

        Args:
            item: int64 [Q], item codes.
            instant: int64 [Q], microseconds; events strictly before it count.

        Returns:
            By name, each [Q]: ``item_category`` and ``item_brand`` int64 codes, and ``columns.ITEM_CONTINUOUS`` float64 (NaN =
            unknown). An item not seen by then has no category, brand or price, no events and age 0.
        """
        distinct, inverse = _distinct_pairs(item, instant)
        state = self._distinct(item[distinct], instant[distinct])
        return {name: values[inverse] for name, values in state.items()}

    def _distinct(self, item: Ints, instant: Ints) -> dict[str, Floats | Ints]:
        start, stop = self._as_of.bounds(item, instant)
        window_start = self._as_of.bounds(item, instant - self._window)[1]
        seen, last = stop > start, np.maximum(stop - 1, 0)
        category = np.where(seen, self._category[last], 0)
        price = np.where(seen, self._price[last], np.nan)
        events = before(self._events, start, stop)
        mean = self._category_prices.mean(category, instant)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(mean > 0, price / mean, np.nan)
        state = {
            "item_category": category,
            "item_brand": np.where(seen, self._brand[last], 0),
            "item_price": price,
            "item_price_ratio": ratio,
            "item_recent_events": events - before(self._events, start, window_start),
            "item_events": events,
            "item_purchases": before(self._purchases, start, stop),
            "item_age_days": np.where(seen, (instant - self.first_seen[item]) / DAY_US, 0.0),
        }
        return state if self.own is None else state | self.own.arrays(item, instant)

    def frame(self, item: Ints, state: dict[str, Floats | Ints]) -> pl.DataFrame:
        """Write the ``arrays`` of ``item`` [Q] as a frame in the order of ``FeatureSet.item``."""
        data = {
            "item_id": self._log.items.gather(item),
            "item_category": self._log.categories.gather(state["item_category"]),
            "item_brand": self._log.brands.gather(state["item_brand"]),
        }
        own = {} if self.own is None else self.own.series(state)
        data |= {name: own[name] for name in own if own[name].dtype == pl.String}
        data |= {name: float32(state[name].astype(np.float64)) for name in columns.ITEM_CONTINUOUS}
        return pl.DataFrame(data | {name: own[name] for name in own if own[name].dtype != pl.String})


class _CategoryPrices:
    """Mean over the items of a category of their last prices, at any instant.

    Each event that changes an item's (category, price) takes the old price out of its category and puts the new one in.
    """

    def __init__(self, category: Ints, price: Floats, time: Ints, starts: Ints) -> None:
        """Take the carried category and price after each event, rows sorted by (item, time); all [N]."""
        counts = (category > 0) & ~np.isnan(price)
        known_price = np.where(counts, price, 0.0)
        known_category = np.where(counts, category, 0)
        continues = starts < np.arange(len(category))
        old_category = np.where(continues, np.append(0, known_category[:-1]), 0)
        old_price = np.where(continues, np.append(0.0, known_price[:-1]), 0.0)
        changed = (old_category != known_category) | (old_price != known_price)
        out, into = changed & (old_category > 0), changed & (known_category > 0)
        category = np.concatenate([old_category[out], known_category[into]])
        time = np.concatenate([time[out], time[into]])
        step = np.concatenate([np.full(out.sum(), -1.0), np.ones(into.sum())])
        price = np.concatenate([-old_price[out], known_price[into]])
        order = np.lexsort((time, category))
        groups = group_starts(category[order])
        self._as_of = AsOf(category[order], time[order])
        self._sum = running_sum(price[order], groups)
        self._count = running_sum(step[order], groups)

    def mean(self, category: Ints, instant: Ints) -> Floats:
        """Return the mean last price [Q] of each category before each instant; NaN where it has no priced item."""
        start, stop = self._as_of.bounds(category, instant)
        items = before(self._count, start, stop)
        return np.where(items > 0, before(self._sum, start, stop) / np.maximum(items, 1), np.nan)


def _carried(values: Floats | Ints, valid: np.ndarray, starts: Ints, missing: float) -> np.ndarray:  # type: ignore[type-arg]
    source = last_valid(valid, starts)
    return np.where(source >= 0, values[np.maximum(source, 0)], values.dtype.type(missing))


def _distinct_pairs(item: Ints, instant: Ints) -> tuple[Ints, Ints]:
    """Return the first row of each distinct (item, instant), and for each row the number of its pair."""
    ranks = np.unique(instant, return_inverse=True)[1]
    _, first, inverse = np.unique(ranks * (int(item.max(initial=0)) + 1) + item, return_index=True, return_inverse=True)
    return first, inverse
