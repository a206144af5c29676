"""Features of a session before the anchor, and of its shopper before the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from workflows.events.asof import Floats, Ints
from workflows.events.event_log import DAY_US, MINUTE_US, EventLog, float32
from workflows.events.schema import CART, PURCHASE, REMOVE_FROM_CART, VIEW
from workflows.events.sessions import session_rows
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import Event, FeatureFamily, Moments, Past
from workflows.features.timeline import Timeline, first_of, ratio

SECOND_US: Final = 1_000_000
_COUNTED: Final = {"views": VIEW, "carts": CART, "removals": REMOVE_FROM_CART, "purchases": PURCHASE}
_RATES: Final = {
    "purchases_a_session": ("past_purchases", "past_sessions", 0.2, 2.0),
    "purchases_a_cart": ("past_purchases", "past_carts", 0.3, 3.0),
    "carts_a_view": ("past_carts", "past_views", 0.1, 10.0),
}
"""Rate -> what it counts, of how many, its usual value, and with how many trials of that every shopper begins, so that a stranger is like
most and one lucky visit makes no best customer."""
_BEFORE: Final = {"views": VIEW, "carts": CART, "purchases": PURCHASE}


def _number(name: str, kind: Kind, title: str) -> Column:
    return Column(f"session_{name}", Owner.SESSION, kind, title)


class SessionActivity(FeatureFamily):
    """Counts, pace and prices of the running session, and the shopper's history before it."""

    name: ClassVar[str] = "session_activity"
    owner: ClassVar[Owner] = Owner.SESSION
    columns = (
        _number("events", Kind.COUNT, "events of the session so far"),
        *(_number(name, Kind.COUNT, f"{name} of the session so far") for name in _COUNTED),
        _number("distinct_items", Kind.COUNT, "distinct items of the session so far"),
        _number("repeats", Kind.COUNT, "events about an item that the session had seen"),
        _number("last_item_events", Kind.COUNT, "events of the session about its last item"),
        _number("minutes", Kind.AMOUNT, "minutes from the first to the last event so far"),
        _number("seconds_an_event", Kind.AMOUNT, "mean seconds between events"),
        _number("last_pause_seconds", Kind.AMOUNT, "seconds between the last two events"),
        _number("cart_lines", Kind.NUMBER, "carts less removals and purchases"),
        _number("mean_price", Kind.AMOUNT, "mean price of the session's events"),
        _number("last_price", Kind.AMOUNT, "last price"),
        _number("cart_price", Kind.AMOUNT, "mean price of what was put into the cart"),
        _number("past_sessions", Kind.COUNT, "earlier sessions of the shopper"),
        *(_number(f"past_{name}", Kind.COUNT, f"{name} of the shopper before the session") for name in _BEFORE),
        *(_number(f"past_{name}", Kind.RATIO, f"{name.replace('_', ' ')} before this session") for name in _RATES),
        _number("days_since_past_event", Kind.AMOUNT, "days from the shopper's last event before the session to its first event"),
        _number("price_level", Kind.RATIO, "mean price of the session over the shopper's mean price before it"),
    )

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns, float32 [Q]; null where nothing has happened that they are computed from."""
        first = session_rows(log)
        found = self._running(log, first, at) | self._before(log, first, at)
        found["price_level"] = ratio(found["mean_price"], found.pop("past_price"))
        return pl.DataFrame({column.name: float32(found[column.name.removeprefix("session_")]) for column in self.columns})

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the same of one session."""
        own = [event for event in past.events if event.session == past.entity]
        earlier = [event for event in past.events if event.session != past.entity and own and event.time < own[0].time]
        found = _running(own) | _before(own, earlier)
        level, before = found["mean_price"], _mean([event.price for event in earlier])
        found["price_level"] = level / before if level is not None and before else None
        return {f"session_{name}": value for name, value in found.items()}

    @staticmethod
    def _running(log: EventLog, first: Ints, at: Moments) -> dict[str, Floats]:
        events = Timeline(log, first)
        lines = {name: Timeline(log, first, log.is_kind(kind)) for name, kind in _COUNTED.items()}
        priced, price = Timeline(log, first, ~np.isnan(log.price)), np.nan_to_num(log.price)
        carted = Timeline(log, first, log.is_kind(CART) & ~np.isnan(log.price))
        seconds = (events.days_since_first(at) - events.days_since_last(at)) * DAY_US / SECOND_US
        found = {"events": events.count(at)} | {name: line.count(at) for name, line in lines.items()}
        found["distinct_items"] = Timeline(log, first, first_of(first, log.item)).count(at)
        found["repeats"] = found["events"] - found["distinct_items"]
        found["last_item_events"] = events.last(_nth_of_item(events, log).astype(np.float64), at)
        found["minutes"] = seconds * SECOND_US / MINUTE_US
        found["seconds_an_event"] = ratio(seconds, found["events"] - 1)
        found["last_pause_seconds"] = events.last(_pause_before(events, len(log.key)), at)
        found["cart_lines"] = found["carts"] - found["removals"] - found["purchases"]
        found["mean_price"] = ratio(priced.sum(price, at), priced.count(at))
        found["last_price"] = priced.last(log.price, at)
        found["cart_price"] = ratio(carted.sum(price, at), carted.count(at))
        return found

    @staticmethod
    def _before(log: EventLog, first: Ints, at: Moments) -> dict[str, Floats]:
        # Only what other sessions did before this one began: one that is named may begin while another one runs.
        begun = (at.entity >= 0) & (log.time[at.entity] < at.anchor)
        begin = Moments(np.where(begun, log.key[at.entity], -1), log.time[at.entity])
        lines = {name: Timeline(log, log.key, log.is_kind(kind)) for name, kind in _BEFORE.items()}
        priced, price = Timeline(log, log.key, ~np.isnan(log.price)), np.nan_to_num(log.price)
        begins = first == np.arange(len(first))
        found = {"past_sessions": Timeline(log, log.key, begins).count(begin)}
        found |= {f"past_{name}": line.count(begin) for name, line in lines.items()}
        found |= _rates(found)
        found["days_since_past_event"] = Timeline(log, log.key).days_since_last(begin)
        found["past_price"] = ratio(priced.sum(price, begin), priced.count(begin))
        return found


def _nth_of_item(events: Timeline, log: EventLog) -> Ints:
    """How many events of its session up to an event are about its item, itself included: int64 [N] by row of the log."""
    item = log.item[events.rows]
    order = np.lexsort((np.arange(len(item)), item, events.group))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(item[order]) != 0) | (np.diff(events.group[order]) != 0)
    place = np.arange(len(order))
    count = np.zeros(len(order), dtype=np.int64)
    count[events.rows[order]] = place - np.maximum.accumulate(np.where(new, place, 0)) + 1 if len(order) else place
    return count


def _pause_before(events: Timeline, rows: int) -> Floats:
    """Seconds from the event before in the session to each event: float64 [N] by row of the log, NaN for the first."""
    pause = np.full(rows, np.nan)
    same = np.diff(events.group) == 0
    pause[events.rows[1:][same]] = np.diff(events.time)[same] / SECOND_US
    return pause


def _running(own: Sequence[Event]) -> dict[str, Any]:
    found: dict[str, Any] = {"events": len(own)}
    found |= {name: sum(event.kind == kind for event in own) for name, kind in _COUNTED.items()}
    found["distinct_items"] = len({event.item for event in own})
    found["repeats"] = len(own) - found["distinct_items"]
    found["last_item_events"] = sum(event.item == own[-1].item for event in own) if own else None
    seconds = (own[-1].time - own[0].time) / SECOND_US if own else None
    found["minutes"] = seconds / 60 if seconds is not None else None
    found["seconds_an_event"] = seconds / (len(own) - 1) if seconds is not None and len(own) > 1 else None
    found["last_pause_seconds"] = (own[-1].time - own[-2].time) / SECOND_US if len(own) > 1 else None
    found["cart_lines"] = found["carts"] - found["removals"] - found["purchases"]
    found["mean_price"] = _mean([event.price for event in own])
    found["last_price"] = next((event.price for event in reversed(own) if event.price is not None), None)
    found["cart_price"] = _mean([event.price for event in own if event.kind == CART])
    return found


def _before(own: Sequence[Event], earlier: Sequence[Event]) -> dict[str, Any]:
    found: dict[str, Any] = {"past_sessions": len({event.session for event in earlier})}
    found |= {f"past_{name}": sum(event.kind == kind for event in earlier) for name, kind in _BEFORE.items()}
    found |= _rates(found)
    found["days_since_past_event"] = (own[0].time - earlier[-1].time) / DAY_US if earlier else None
    return found


def _rates(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"past_{name}": (found[results] + prior * usual) / (found[trials] + prior)
        for name, (results, trials, usual, prior) in _RATES.items()
    }


def _mean(prices: Sequence[float | None]) -> float | None:
    known = [price for price in prices if price is not None]
    return sum(known) / len(known) if known else None
