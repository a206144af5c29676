"""What was known before the anchor of the items that a session has looked at: how they sell, and whether they cost less than usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from workflows.events.asof import Bools, Floats, Ints, expand, parts_of
from workflows.events.event_log import EventLog, float32
from workflows.events.schema import CART, PURCHASE, VIEW
from workflows.events.sessions import session_rows
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import Event, FeatureFamily, Moments, Past
from workflows.features.timeline import Timeline, ratio

_PRIOR: Final = 10.0
"""Views or carts without result that every item begins with, so that one lucky view makes no bestseller."""
_ROWS_AT_ONCE: Final = 2_000_000
_OF_ITEM: Final = ("purchases_a_view", "carts_a_view", "purchases_a_cart", "views", "price_ratio")


def _number(name: str, kind: Kind, title: str) -> Column:
    return Column(f"session_{name}", Owner.SESSION, kind, title)


class SessionItems(FeatureFamily):
    """Conversion, popularity and price of a session's items, each weighted by its events; and of its last item and its cart."""

    name: ClassVar[str] = "session_items"
    owner: ClassVar[Owner] = Owner.SESSION
    columns = (
        _number("items_purchases_a_view", Kind.RATIO, "purchases a view of the session's items"),
        _number("items_carts_a_view", Kind.RATIO, "carts a view of the session's items"),
        _number("items_purchases_a_cart", Kind.RATIO, "purchases a cart of the session's items"),
        _number("items_views", Kind.AMOUNT, "views of the session's items"),
        _number("items_price_ratio", Kind.RATIO, "price of the session's items over what each usually costs"),
        _number("lowest_price_ratio", Kind.RATIO, "least price over what the item usually costs"),
        _number("cart_purchases_a_cart", Kind.RATIO, "purchases a cart of the items put into the cart"),
        _number("cart_price_ratio", Kind.RATIO, "price of the items put into the cart over what each usually costs"),
        _number("last_purchases_a_view", Kind.RATIO, "purchases a view of the last item"),
        _number("last_price_ratio", Kind.RATIO, "price of the last item over what it usually costs"),
    )

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns, float32 [Q]; null where the session has nothing that they are computed from."""
        events, items = Timeline(log, session_rows(log)), _Items.of(log)
        start, stop = events.bounds(at)
        parts = [
            self._part(log, events, items, at.anchor[rows], start[rows], stop[rows])
            for rows in parts_of(stop - start, _ROWS_AT_ONCE)
        ]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return pl.DataFrame({column.name: float32(found[column.name.removeprefix("session_")]) for column in self.columns})

    @staticmethod
    def _part(log: EventLog, events: Timeline, items: _Items, anchor: Ints, start: Ints, stop: Ints) -> dict[str, Floats]:
        query, place = expand(start, stop)
        row = events.rows[place]
        of = items.arrays(log, Moments(log.item[row], anchor[query]), log.price[row])
        count, last, carted = len(anchor), place == stop[query] - 1, log.is_kind(CART)[row]
        found = {f"items_{name}": _mean(of[name], query, count) for name in _OF_ITEM}
        lowest = np.full(count, np.inf)
        np.minimum.at(lowest, query, np.where(np.isnan(of["price_ratio"]), np.inf, of["price_ratio"]))
        found["lowest_price_ratio"] = np.where(np.isinf(lowest), np.nan, lowest)
        for name, of_these, value in (
            ("cart_purchases_a_cart", carted, "purchases_a_cart"),
            ("cart_price_ratio", carted, "price_ratio"),
            ("last_purchases_a_view", last, "purchases_a_view"),
            ("last_price_ratio", last, "price_ratio"),
        ):
            found[name] = _mean(of[value][of_these], query[of_these], count)
        return found

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the same of one session."""
        own = [event for event in past.events if event.session == past.entity]
        of = [_item_values(past.of_item(event.item), event.price) for event in own]
        carted = [values for event, values in zip(own, of, strict=True) if event.kind == CART]
        found = {f"items_{name}": _mean_of([values[name] for values in of]) for name in _OF_ITEM}
        found["lowest_price_ratio"] = min((v["price_ratio"] for v in of if v["price_ratio"] is not None), default=None)
        found["cart_purchases_a_cart"] = _mean_of([values["purchases_a_cart"] for values in carted])
        found["cart_price_ratio"] = _mean_of([values["price_ratio"] for values in carted])
        found["last_purchases_a_view"] = of[-1]["purchases_a_view"] if of else None
        found["last_price_ratio"] = of[-1]["price_ratio"] if of else None
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
        usual = ratio(self.priced.sum(np.nan_to_num(log.price), at), self.priced.count(at))
        return {
            "purchases_a_view": purchases / (views + _PRIOR),
            "carts_a_view": carts / (views + _PRIOR),
            "purchases_a_cart": purchases / (carts + _PRIOR),
            "views": views,
            "price_ratio": ratio(price, np.nan_to_num(usual)),
        }


def _mean(values: Floats, query: Ints, count: int) -> Floats:
    known: Bools = ~np.isnan(values)
    total = np.bincount(query[known], values[known], minlength=count).astype(np.float64)
    return ratio(total, np.bincount(query[known], minlength=count).astype(np.float64))


def _item_values(events: Sequence[Event], price: float | None) -> dict[str, float | None]:
    count = {kind: sum(event.kind == kind for event in events) for kind in (VIEW, CART, PURCHASE)}
    prices = [event.price for event in events if event.price is not None]
    usual = sum(prices) / len(prices) if prices else 0.0
    return {
        "purchases_a_view": count[PURCHASE] / (count[VIEW] + _PRIOR),
        "carts_a_view": count[CART] / (count[VIEW] + _PRIOR),
        "purchases_a_cart": count[PURCHASE] / (count[CART] + _PRIOR),
        "views": float(count[VIEW]),
        "price_ratio": price / usual if price is not None and usual > 0 else None,
    }


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
