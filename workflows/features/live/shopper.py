"""The request's face of ``user_activity`` and ``buying_cycle``; what the columns mean stands there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from workflows.events.kinds import CART, PURCHASE, REFUND, REMOVE_FROM_CART, VIEW
from workflows.features.live.past import DAY_US, Events, LiveFamily, LivePast, Value, days_since, ratio, units, within

_COUNTED: Final = {"views": VIEW, "carts": CART, "removals": REMOVE_FROM_CART, "purchases": PURCHASE, "refunds": REFUND}
_WINDOWED: Final = ("events", "views", "carts", "purchases")
_WINDOWS: Final = (7, 30, 90)


class UserActivity(LiveFamily):
    """Recency, frequency and monetary value of a user."""

    def values(self, past: LivePast) -> Mapping[str, Value]:
        """Return the columns of one user."""
        anchor = past.anchor
        of = {"events": past.events} | {name: past.of_kind(kind) for name, kind in _COUNTED.items()}
        bought = of["purchases"]
        found: dict[str, Value] = {name: len(some) for name, some in of.items()}
        found |= {f"{name}_{days}d": len(within(of[name], anchor, days)) for name in _WINDOWED for days in _WINDOWS}
        found |= {f"orders_{days}d": len(np.unique(within(bought, anchor, days)["time"])) for days in _WINDOWS}
        orders, spend = len(np.unique(bought["time"])), _value(bought)
        since = days_since(bought, -1, anchor)
        found |= {"orders": orders, "spend": spend, "spend_90d": _value(within(bought, anchor, 90))}
        found |= {"days_since_event": days_since(past.events, -1, anchor), "days_since_purchase": since}
        found["tenure_days"] = days_since(past.events, 0, anchor)
        found["mean_order_value"] = ratio(spend, orders)
        first = days_since(bought, 0, anchor)
        between = None if first is None or since is None else ratio(first - since, orders - 1)
        found |= {"days_between_orders": between, "overdue": ratio(since, between)}
        found["distinct_items"] = len(np.unique(past.events["item"]))
        return {f"user_{name}": value for name, value in found.items()}


class BuyingCycle(LiveFamily):
    """Pauses between a user's orders."""

    def values(self, past: LivePast) -> Mapping[str, Value]:
        """Return the columns of one user."""
        bought = past.of_kind(PURCHASE)
        gaps = np.diff(np.unique(bought["time"])) / DAY_US
        since = days_since(bought, -1, past.anchor)
        return {
            "user_days_since_first_purchase": days_since(bought, 0, past.anchor),
            "user_last_gap_days": float(gaps[-1]) if len(gaps) else None,
            "user_longest_gap_days": float(gaps.max()) if len(gaps) else None,
            "user_due_days": float(gaps.mean()) - since if len(gaps) and since is not None else None,
        }


def _value(bought: Events) -> float:
    return float((np.nan_to_num(bought["price"]) * units(bought)).sum())
