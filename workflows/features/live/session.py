"""The request's face of ``session_activity`` and ``session_items``, of the session of a shopper's latest event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from workflows.events.kinds import CART, PURCHASE, REMOVE_FROM_CART, VIEW
from workflows.features.live.past import (
    DAY_US,
    Events,
    LiveFamily,
    LivePast,
    Value,
    kind_code,
    mean,
    of_kind,
    ratio,
    sessions_of,
)

_SECOND_US: Final = 1_000_000
_COUNTED: Final = {"views": VIEW, "carts": CART, "removals": REMOVE_FROM_CART, "purchases": PURCHASE}
_BEFORE: Final = {"views": VIEW, "carts": CART, "purchases": PURCHASE}
_RATES: Final = {
    "purchases_a_session": ("past_purchases", "past_sessions", 0.2, 2.0),
    "purchases_a_cart": ("past_purchases", "past_carts", 0.3, 3.0),
    "carts_a_view": ("past_carts", "past_views", 0.1, 10.0),
}
_PRIOR: Final = 10.0
_USUAL: Final = {"carts_a_view": 0.1, "purchases_a_view": 0.03, "purchases_a_cart": 0.3}
_OF_ITEM: Final = ("purchases_a_view", "carts_a_view", "purchases_a_cart", "views", "price_ratio", "discount")
_OF_CART: Final = ("purchases_a_cart", "price_ratio", "discount")
_OF_LAST: Final = ("purchases_a_view", "carts_a_view", "price_ratio", "discount")
_ENDS: Final = tuple(map(kind_code, (CART, REMOVE_FROM_CART, PURCHASE)))


class SessionActivity(LiveFamily):
    """Counts, pace and prices of the running session, and the shopper's history before it."""

    def values(self, past: LivePast) -> Mapping[str, Value]:
        """Return the columns of the session."""
        own, earlier, sessions = _parted(past)
        found = _running(own) | _before(own, earlier, sessions)
        found["price_level"] = ratio(found["mean_price"], mean(earlier["price"]))
        return {f"session_{name}": value for name, value in found.items()}


class SessionItems(LiveFamily):
    """Conversion, popularity and price of a session's items, of its open cart, and of its last item."""

    def values(self, past: LivePast) -> Mapping[str, Value]:
        """Return the columns of the session."""
        own, _, _ = _parted(past)
        of_items = {int(item): past.of_item(int(item)) for item in np.unique(own["item"])}
        of = [_item_values(of_items[int(event["item"])], float(event["price"])) for event in own]
        table = {name: np.array([values[name] for values in of], np.float64) for name in _OF_ITEM}
        is_open = np.array([_is_open(own, place) for place in range(len(own))], bool)
        found: dict[str, Value] = {f"items_{name}": mean(values) for name, values in table.items()}
        found |= {f"last_{name}": mean(table[name][-1:]) for name in _OF_LAST}
        found |= {f"cart_{name}": mean(table[name][is_open]) for name in _OF_CART}
        discounts = table["discount"][~np.isnan(table["discount"])]
        found["best_discount"] = float(discounts.max()) if len(discounts) else None
        found["open_lines"] = int(is_open.sum())
        found["open_purchases"] = float(table["purchases_a_cart"][is_open].sum())
        found["open_price"] = mean(own["price"][is_open])
        return {f"session_{name}": value for name, value in found.items()}


def _parted(past: LivePast) -> tuple[Events, Events, npt.NDArray[np.int64]]:
    """Return the events of the session, what other sessions did before it began, and the numbers of those sessions."""
    numbers = sessions_of(past.events, past.gap_us)
    mine = numbers == numbers[-1:]
    own = past.events[mine]
    before = ~mine & (past.events["time"] < own["time"][0]) if len(own) else mine
    return own, past.events[before], numbers[before]


def _running(own: Events) -> dict[str, Value]:
    found: dict[str, Value] = {"events": len(own)}
    counts = {name: len(of_kind(own, kind)) for name, kind in _COUNTED.items()}
    found |= counts
    found["distinct_items"] = distinct = len(np.unique(own["item"]))
    found["repeats"] = len(own) - distinct
    found["last_item_events"] = int((own["item"] == own["item"][-1]).sum()) if len(own) else None
    seconds = int(own["time"][-1] - own["time"][0]) / _SECOND_US if len(own) else None
    found["minutes"] = None if seconds is None else seconds / 60
    found["seconds_an_event"] = ratio(seconds, len(own) - 1)
    found["last_pause_seconds"] = int(own["time"][-1] - own["time"][-2]) / _SECOND_US if len(own) > 1 else None
    found["cart_lines"] = counts["carts"] - counts["removals"] - counts["purchases"]
    prices = own["price"][~np.isnan(own["price"])]
    found["mean_price"], found["last_price"] = mean(prices), float(prices[-1]) if len(prices) else None
    found["cart_price"] = mean(of_kind(own, CART)["price"])
    return found


def _before(own: Events, earlier: Events, sessions: npt.NDArray[np.int64]) -> dict[str, Value]:
    counts = {"past_sessions": len(np.unique(sessions))}
    counts |= {f"past_{name}": len(of_kind(earlier, kind)) for name, kind in _BEFORE.items()}
    found: dict[str, Value] = {**counts}
    for name, (results, trials, usual, prior) in _RATES.items():
        found[f"past_{name}"] = (counts[results] + prior * usual) / (counts[trials] + prior)
    found["days_since_past_event"] = int(own["time"][0] - earlier["time"][-1]) / DAY_US if len(earlier) else None
    return found


def _item_values(events: Events, price: float) -> dict[str, float | None]:
    views, carts, purchases = (len(of_kind(events, kind)) for kind in (VIEW, CART, PURCHASE))
    prices = events["price"][~np.isnan(events["price"])]
    known = None if np.isnan(price) else price
    of_highest = ratio(known, float(prices.max()) if len(prices) else None)
    return {
        "purchases_a_view": _rate(purchases, views, "purchases_a_view"),
        "carts_a_view": _rate(carts, views, "carts_a_view"),
        "purchases_a_cart": _rate(purchases, carts, "purchases_a_cart"),
        "views": float(views),
        "price_ratio": ratio(known, mean(prices)),
        "discount": None if of_highest is None else 1.0 - of_highest,
    }


def _rate(results: int, trials: int, name: str) -> float:
    return (results + _PRIOR * _USUAL[name]) / (trials + _PRIOR)


def _is_open(own: Events, place: int) -> bool:
    """Return whether an event opens a line of the cart that no later one of its item ends."""
    later = own[place + 1 :]
    ended = np.isin(later["kind"], _ENDS) & (later["item"] == own["item"][place])
    return bool(own["kind"][place] == kind_code(CART) and not ended.any())
