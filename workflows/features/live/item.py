"""The request's face of ``item_activity``; what the columns mean stands there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from workflows.events.kinds import CART, PURCHASE, REFUND, VIEW
from workflows.features.live.past import DAY_US, Events, LiveFamily, LivePast, Value, days_since, mean, ratio, units, within

_KINDS: Final = {"views": VIEW, "carts": CART, "purchases": PURCHASE, "refunds": REFUND}
_WINDOWS: Final = (7, 14, 28)
_WEEKS: Final = 4


class ItemActivity(LiveFamily):
    """Sales, views, price and age of an item."""

    def values(self, past: LivePast) -> Mapping[str, Value]:
        """Return the columns of one item."""
        anchor, of = past.anchor, {name: past.of_kind(kind) for name, kind in _KINDS.items()}
        bought, total = of["purchases"], float(units(of["purchases"]).sum())
        found: dict[str, Value] = {f"units_{days}d": _sold(bought, anchor, days) for days in _WINDOWS}
        for name in ("purchases", "views", "carts"):
            found |= {f"{name}_{days}d": len(within(of[name], anchor, days)) for days in _WINDOWS}
        week, month = _sold(bought, anchor, 7), _sold(bought, anchor, 28)
        found["units_same_weekday"] = _same_weekday(bought, anchor)
        found |= {"purchases": len(bought), "refunds": len(of["refunds"]), "buyers": len(np.unique(bought["user"]))}
        found["days_since_purchase"] = days_since(bought, -1, anchor)
        found["age_days"] = age = days_since(past.events, 0, anchor)
        found["units_a_week"] = ratio(7 * total, age)
        found["units_a_purchase"] = ratio(total, len(bought))
        found["trend"] = ratio(_WEEKS * week, month)
        prices = past.events["price"][~np.isnan(past.events["price"])]
        last = past.price if past.price is not None or not len(prices) else float(prices[-1])
        found["price"] = last
        found["price_ratio"] = ratio(last, mean(prices))
        return {f"item_{name}": value for name, value in found.items()}


def _sold(bought: Events, anchor: int, days: int) -> float:
    return float(units(within(bought, anchor, days)).sum())


def _same_weekday(bought: Events, anchor: int) -> float:
    begins = [anchor - 7 * week * DAY_US for week in range(1, _WEEKS + 1)]
    bounds = [np.searchsorted(bought["time"], [begin, begin + DAY_US]) for begin in begins]
    return float(sum(units(bought[start:stop]).sum() for start, stop in bounds))
