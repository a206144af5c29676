"""Features of the items viewed in a session, as known before the anchor: their sales, and their price compared with usual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from workflows.events.asof import Bools, Floats, Ints, expand, parts_of
from workflows.events.event_log import EventLog, float32
from workflows.events.schema import CART, PURCHASE, REMOVE_FROM_CART, VIEW
from workflows.events.sessions import session_rows
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import Event, FeatureFamily, Moments, Past
from workflows.features.timeline import Timeline, ratio

_PRIOR: Final = 10.0
"""Views, or carts, that every item begins with, so that one lucky view makes no bestseller."""
_USUAL: Final = {"carts_a_view": 0.1, "purchases_a_view": 0.03, "purchases_a_cart": 0.3}
"""The rates of those, about what shops have."""
_ROWS_AT_ONCE: Final = 2_000_000
_OF_ITEM: Final = {
    "purchases_a_view": (Kind.RATIO, "purchases a view"),
    "carts_a_view": (Kind.RATIO, "carts a view"),
    "purchases_a_cart": (Kind.RATIO, "purchases a cart"),
    "views": (Kind.AMOUNT, "views"),
    "price_ratio": (Kind.RATIO, "price over the mean price so far"),
    "discount": (Kind.NUMBER, "discount from the highest price so far"),
}
_OF_CART: Final = ("purchases_a_cart", "price_ratio", "discount")
_OF_LAST: Final = ("purchases_a_view", "carts_a_view", "price_ratio", "discount")


def _number(name: str, kind: Kind, title: str) -> Column:
    return Column(f"session_{name}", Owner.SESSION, kind, title)


class SessionItems(FeatureFamily):
    """Conversion, popularity and price of a session's items, weighted by its events; of its open cart; and of its last item.

    A line of the cart is open until its item is removed from the cart or bought in the session.
    """

    name: ClassVar[str] = "session_items"
    owner: ClassVar[Owner] = Owner.SESSION
    columns = (
        *(_number(f"items_{name}", kind, f"{title} of the session's items") for name, (kind, title) in _OF_ITEM.items()),
        *(_number(f"last_{name}", _OF_ITEM[name][0], f"{_OF_ITEM[name][1]} of the last item") for name in _OF_LAST),
        *(_number(f"cart_{name}", _OF_ITEM[name][0], f"{_OF_ITEM[name][1]} of the open cart") for name in _OF_CART),
        _number("best_discount", Kind.NUMBER, "highest discount of the session's items"),
        _number("open_lines", Kind.COUNT, "open lines of the cart"),
        _number("open_purchases", Kind.NUMBER, "purchases a cart, summed over the open lines"),
        _number("open_price", Kind.AMOUNT, "mean price of the open lines"),
    )

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns, float32 [Q]; null where the session has nothing that they are computed from."""
        sessions = session_rows(log)
        session = _Session(log, Timeline(log, sessions), _Items.of(log), _ended_at(log, sessions))
        start, stop = session.events.bounds(at)
        parts = [session.values(at.anchor[rows], start[rows], stop[rows]) for rows in parts_of(stop - start, _ROWS_AT_ONCE)]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return pl.DataFrame({column.name: float32(found[column.name.removeprefix("session_")]) for column in self.columns})

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the same of one session."""
        own = [event for event in past.events if event.session == past.entity]
        of = [_item_values(past.of_item(event.item), event.price) for event in own]
        lines = [(values, event.price) for place, (values, event) in enumerate(zip(of, own, strict=True)) if _is_open(own, place)]
        carted = [values for values, _ in lines]
        found: dict[str, Any] = {f"items_{name}": _mean_of([values[name] for values in of]) for name in _OF_ITEM}
        found |= {f"last_{name}": of[-1][name] if of else None for name in _OF_LAST}
        found |= {f"cart_{name}": _mean_of([values[name] for values in carted]) for name in _OF_CART}
        found["best_discount"] = max((v["discount"] for v in of if v["discount"] is not None), default=None)
        found["open_lines"] = len(lines)
        found["open_purchases"] = sum(values["purchases_a_cart"] or 0.0 for values in carted)
        found["open_price"] = _mean_of([price for _, price in lines])
        return {f"session_{name}": value for name, value in found.items()}


@dataclass(frozen=True)
class _Items:
    views: Timeline
    carts: Timeline
    purchases: Timeline
    priced: Timeline

    @staticmethod
    def of(log: EventLog) -> _Items:
        views, carts, purchases = (Timeline(log, log.item, log.is_kind(kind)) for kind in (VIEW, CART, PURCHASE))
        return _Items(views, carts, purchases, Timeline(log, log.item, ~np.isnan(log.price)))

    def arrays(self, log: EventLog, at: Moments, price: Floats) -> dict[str, Floats]:
        views, carts, purchases = (line.count(at) for line in (self.views, self.carts, self.purchases))
        known = np.nan_to_num(log.price)
        mean = ratio(self.priced.sum(known, at), self.priced.count(at))
        return {
            "purchases_a_view": _rate(purchases, views, "purchases_a_view"),
            "carts_a_view": _rate(carts, views, "carts_a_view"),
            "purchases_a_cart": _rate(purchases, carts, "purchases_a_cart"),
            "views": views,
            "price_ratio": ratio(price, np.nan_to_num(mean)),
            "discount": 1.0 - ratio(price, np.nan_to_num(self.priced.highest(known, at))),
        }


@dataclass(frozen=True)
class _Session:
    log: EventLog
    events: Timeline
    items: _Items
    ended_at: Ints

    def values(self, anchor: Ints, start: Ints, stop: Ints) -> dict[str, Floats]:
        log, count = self.log, len(anchor)
        query, place = expand(start, stop)
        row = self.events.rows[place]
        of = self.items.arrays(log, Moments(log.item[row], anchor[query]), log.price[row])
        last = place == stop[query] - 1
        is_open = log.is_kind(CART)[row] & (self.ended_at[row] >= anchor[query])
        found = {f"items_{name}": _mean(of[name], query, count) for name in _OF_ITEM}
        found |= {f"last_{name}": _mean(of[name][last], query[last], count) for name in _OF_LAST}
        found |= {f"cart_{name}": _mean(of[name][is_open], query[is_open], count) for name in _OF_CART}
        best = np.full(count, -np.inf)
        np.maximum.at(best, query, np.where(np.isnan(of["discount"]), -np.inf, of["discount"]))
        found["best_discount"] = np.where(np.isinf(best), np.nan, best)
        found["open_lines"] = np.bincount(query[is_open], minlength=count).astype(np.float64)
        found["open_purchases"] = np.bincount(query[is_open], of["purchases_a_cart"][is_open], minlength=count).astype(np.float64)
        found["open_price"] = _mean(log.price[row][is_open], query[is_open], count)
        return found


def _ended_at(log: EventLog, sessions: Ints) -> Ints:
    """Instant at which a line of the cart that an event opens is no longer open, int64 [N]: the largest int64 where it stays.

    A line ends with the next event of its item in its session that puts it into the cart again, removes it or buys it.
    """
    ends = log.kind.is_in([CART, REMOVE_FROM_CART, PURCHASE]).to_numpy()
    order = np.lexsort((log.row, log.time, log.item, sessions))
    places = np.arange(len(order))
    later = np.append(np.where(ends[order], places, len(order))[1:], len(order))
    following = np.minimum.accumulate(later[::-1])[::-1]
    row = order[np.minimum(following, len(order) - 1)]
    same = (following < len(order)) & (sessions[row] == sessions[order]) & (log.item[row] == log.item[order])
    found = np.full(len(order), np.iinfo(np.int64).max)
    found[order[same]] = log.time[row[same]]
    return found


def _is_open(own: Sequence[Event], place: int) -> bool:
    event = own[place]
    later = [e.kind for e in own[place + 1 :] if e.item == event.item]
    return event.kind == CART and not {CART, REMOVE_FROM_CART, PURCHASE} & set(later)


def _rate(results: Any, trials: Any, name: str) -> Any:
    return (results + _PRIOR * _USUAL[name]) / (trials + _PRIOR)


def _mean(values: Floats, query: Ints, count: int) -> Floats:
    known: Bools = ~np.isnan(values)
    total = np.bincount(query[known], values[known], minlength=count).astype(np.float64)
    return ratio(total, np.bincount(query[known], minlength=count).astype(np.float64))


def _item_values(events: Sequence[Event], price: float | None) -> dict[str, float | None]:
    views, carts, purchases = (sum(event.kind == kind for event in events) for kind in (VIEW, CART, PURCHASE))
    prices = [event.price for event in events if event.price is not None]

    def over(usual: Callable[[Sequence[float]], float]) -> float | None:
        return price / usual(prices) if price is not None and prices and usual(prices) > 0 else None

    of_highest = over(max)
    return {
        "purchases_a_view": _rate(purchases, views, "purchases_a_view"),
        "carts_a_view": _rate(carts, views, "carts_a_view"),
        "purchases_a_cart": _rate(purchases, carts, "purchases_a_cart"),
        "views": float(views),
        "price_ratio": over(lambda known: sum(known) / len(known)),
        "discount": None if of_highest is None else 1.0 - of_highest,
    }


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
