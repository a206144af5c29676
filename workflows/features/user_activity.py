"""User activity before the anchor: recency, frequency and monetary value, over the last week, month and quarter.

R. C. Blattberg, B.-D. Kim and S. A. Neslin, Database Marketing (2008), chapter 12, describe recency, frequency and monetary value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from workflows.events.event_log import DAY_US, EventLog, float32
from workflows.events.schema import CART, PURCHASE, REFUND, REMOVE_FROM_CART, VIEW
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import Event, FeatureFamily, Moments, Past
from workflows.features.timeline import Timeline, first_of, ratio

WINDOWS: Final = (7, 30, 90)
"""Days."""
_COUNTED: Final = {"views": VIEW, "carts": CART, "removals": REMOVE_FROM_CART, "purchases": PURCHASE, "refunds": REFUND}
_WINDOWED: Final = ("events", "views", "carts", "purchases")


def _number(name: str, kind: Kind, title: str) -> Column:
    return Column(f"user_{name}", Owner.SHOPPER, kind, title)


class UserActivity(FeatureFamily):
    """Recency, frequency and monetary value of a user, and the counts behind them."""

    name: ClassVar[str] = "user_activity"
    owner: ClassVar[Owner] = Owner.SHOPPER
    columns = (
        _number("days_since_event", Kind.AMOUNT, "days since the last event"),
        _number("days_since_purchase", Kind.AMOUNT, "days since the last purchase"),
        _number("tenure_days", Kind.AMOUNT, "days since the first event"),
        *(_number(name, Kind.COUNT, name) for name in ("events", *_COUNTED)),
        *(_number(f"{name}_{days}d", Kind.COUNT, f"{name} in the last {days} days") for name in _WINDOWED for days in WINDOWS),
        _number("orders", Kind.COUNT, "orders: instants with a purchase"),
        *(_number(f"orders_{days}d", Kind.COUNT, f"orders in the last {days} days") for days in WINDOWS),
        _number("spend", Kind.AMOUNT, "money spent"),
        _number("spend_90d", Kind.AMOUNT, "money spent in the last 90 days"),
        _number("mean_order_value", Kind.AMOUNT, "mean value of an order"),
        _number("days_between_orders", Kind.AMOUNT, "mean days between orders"),
        _number("overdue", Kind.RATIO, "days since the last purchase, in mean days between orders"),
        _number("distinct_items", Kind.COUNT, "distinct items"),
    )

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns, float32 [Q]; null where nothing has happened that they are computed from."""
        group = log.key
        events, chosen = Timeline(log, group), {name: log.is_kind(kind) for name, kind in _COUNTED.items()}
        lines = {"events": events} | {name: Timeline(log, group, mask) for name, mask in chosen.items()}
        bought = chosen["purchases"]
        order = np.zeros(len(group), dtype=bool)
        order[bought] = first_of(group[bought], log.time[bought])
        orders, purchases = Timeline(log, group, order), lines["purchases"]
        value = np.nan_to_num(log.price) * np.where(np.isnan(log.quantity), 1.0, log.quantity)
        found = {
            "days_since_event": events.days_since_last(at),
            "days_since_purchase": purchases.days_since_last(at),
            "tenure_days": events.days_since_first(at),
            **{name: line.count(at) for name, line in lines.items()},
            **{f"{name}_{days}d": lines[name].count(at, days) for name in _WINDOWED for days in WINDOWS},
            "orders": orders.count(at),
            **{f"orders_{days}d": orders.count(at, days) for days in WINDOWS},
            "spend": purchases.sum(value, at),
            "spend_90d": purchases.sum(value, at, 90),
            "distinct_items": Timeline(log, group, first_of(group, log.item)).count(at),
        }
        found["mean_order_value"] = ratio(found["spend"], found["orders"])
        between = purchases.days_since_first(at) - found["days_since_purchase"]
        found["days_between_orders"] = ratio(between, found["orders"] - 1)
        found["overdue"] = ratio(found["days_since_purchase"], found["days_between_orders"])
        return pl.DataFrame({column.name: float32(found[column.name.removeprefix("user_")]) for column in self.columns})

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the same of one user."""
        events, anchor = past.events, past.anchor
        of = {"events": list(events)} | {name: [e for e in events if e.kind == kind] for name, kind in _COUNTED.items()}
        bought = of["purchases"]
        orders = sorted({event.time for event in bought})
        found: dict[str, Any] = {name: len(some) for name, some in of.items()}
        found |= {f"{name}_{days}d": len(_within(of[name], anchor, days)) for name in _WINDOWED for days in WINDOWS}
        found |= {f"orders_{days}d": len({e.time for e in _within(bought, anchor, days)}) for days in WINDOWS}
        found |= {"orders": len(orders), "spend": _value(bought), "spend_90d": _value(_within(bought, anchor, 90))}
        found["days_since_event"] = (anchor - events[-1].time) / DAY_US if events else None
        found["tenure_days"] = (anchor - events[0].time) / DAY_US if events else None
        found["days_since_purchase"] = since = (anchor - orders[-1]) / DAY_US if orders else None
        found["mean_order_value"] = found["spend"] / len(orders) if orders else None
        between = (orders[-1] - orders[0]) / DAY_US / (len(orders) - 1) if len(orders) > 1 else None
        found |= {"days_between_orders": between, "overdue": since / between if since is not None and between else None}
        found["distinct_items"] = len({event.item for event in events})
        return {f"user_{name}": value for name, value in found.items()}


def _within(events: Sequence[Event], anchor: int, days: int) -> list[Event]:
    return [event for event in events if event.time >= anchor - days * DAY_US]


def _value(events: Sequence[Event]) -> float:
    return sum((event.price or 0.0) * (1.0 if event.quantity is None else event.quantity) for event in events)
