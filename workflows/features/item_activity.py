"""Sales, views and price of an item before the anchor, and their comparison with its past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from workflows.events.asof import Floats
from workflows.events.event_log import DAY_US, EventLog, float32
from workflows.events.schema import CART, PURCHASE, REFUND, VIEW
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import Event, FeatureFamily, Moments, Past
from workflows.features.timeline import Timeline, first_of, ratio

WINDOWS: Final = (7, 14, 28)
"""Days."""
_WEEKS: Final = 4
"""How many of the last weeks are looked at for the weekday of the anchor."""


def _number(name: str, kind: Kind, title: str) -> Column:
    return Column(f"item_{name}", Owner.ITEM, kind, title)


class ItemActivity(FeatureFamily):
    """Sales, views, price and age of an item."""

    name: ClassVar[str] = "item_activity"
    owner: ClassVar[Owner] = Owner.ITEM
    columns = (
        *(_number(f"units_{days}d", Kind.COUNT, f"units sold in the last {days} days") for days in WINDOWS),
        *(_number(f"purchases_{days}d", Kind.COUNT, f"purchases in the last {days} days") for days in WINDOWS),
        *(_number(f"views_{days}d", Kind.COUNT, f"views in the last {days} days") for days in WINDOWS),
        *(_number(f"carts_{days}d", Kind.COUNT, f"put into a cart in the last {days} days") for days in WINDOWS),
        _number("units_same_weekday", Kind.COUNT, "units sold on the anchor's weekday in the last four weeks"),
        _number("units_a_week", Kind.AMOUNT, "mean units sold in a week since it was first seen"),
        _number("units_a_purchase", Kind.AMOUNT, "mean units of a purchase"),
        _number("purchases", Kind.COUNT, "purchases"),
        _number("refunds", Kind.COUNT, "refunds"),
        _number("buyers", Kind.COUNT, "distinct buyers"),
        _number("trend", Kind.RATIO, "units of the last week over those of a mean week of the last four"),
        _number("days_since_purchase", Kind.AMOUNT, "days since the last purchase"),
        _number("age_days", Kind.AMOUNT, "days since it was first seen"),
        _number("price", Kind.AMOUNT, "last price"),
        _number("price_ratio", Kind.RATIO, "last price over its mean price"),
    )

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns, float32 [Q]; null where nothing has happened that they are computed from."""
        chosen = {"views": VIEW, "carts": CART, "purchases": PURCHASE, "refunds": REFUND}
        lines = {name: Timeline(log, log.item, log.is_kind(kind)) for name, kind in chosen.items()}
        every, bought, units = Timeline(log, log.item), lines["purchases"], np.where(np.isnan(log.quantity), 1.0, log.quantity)
        priced = Timeline(log, log.item, ~np.isnan(log.price))
        first_buy = np.zeros(len(log.item), dtype=bool)
        is_purchase = log.is_kind(PURCHASE)
        first_buy[is_purchase] = first_of(log.item[is_purchase], log.key[is_purchase])
        found = {f"units_{days}d": bought.sum(units, at, days) for days in WINDOWS}
        found |= {f"{name}_{days}d": lines[name].count(at, days) for name in ("purchases", "views", "carts") for days in WINDOWS}
        found |= {
            "units_same_weekday": _same_weekday(bought, units, at),
            "purchases": bought.count(at),
            "refunds": lines["refunds"].count(at),
            "buyers": Timeline(log, log.item, first_buy).count(at),
            "days_since_purchase": bought.days_since_last(at),
            "age_days": every.days_since_first(at),
            "price": priced.last(log.price, at),
        }
        total = bought.sum(units, at)
        found["units_a_week"] = ratio(7 * total, np.nan_to_num(found["age_days"]))
        found["units_a_purchase"] = ratio(total, found["purchases"])
        found["trend"] = ratio(_WEEKS * found["units_7d"], found["units_28d"])
        found["price_ratio"] = ratio(found["price"], ratio(priced.sum(log.price, at), priced.count(at)))
        return pl.DataFrame({column.name: float32(found[column.name.removeprefix("item_")]) for column in self.columns})

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the same of one item."""
        events, anchor = past.events, past.anchor
        chosen = {"views": VIEW, "carts": CART, "purchases": PURCHASE, "refunds": REFUND}
        of = {name: [event for event in events if event.kind == kind] for name, kind in chosen.items()}
        bought, prices = of["purchases"], [event.price for event in events if event.price is not None]
        found: dict[str, Any] = {f"units_{days}d": _units(_within(bought, anchor, days)) for days in WINDOWS}
        for name in ("purchases", "views", "carts"):
            found |= {f"{name}_{days}d": len(_within(of[name], anchor, days)) for days in WINDOWS}
        weeks = range(1, _WEEKS + 1)
        found["units_same_weekday"] = _units(
            [e for e in bought if any(0 <= e.time - anchor + 7 * w * DAY_US < DAY_US for w in weeks)]
        )
        found |= {"purchases": len(bought), "refunds": len(of["refunds"]), "buyers": len({event.user for event in bought})}
        found["days_since_purchase"] = (anchor - bought[-1].time) / DAY_US if bought else None
        found["age_days"] = age = (anchor - events[0].time) / DAY_US if events else None
        found["units_a_week"] = 7 * _units(bought) / age if age else None
        found["units_a_purchase"] = _units(bought) / len(bought) if bought else None
        found["trend"] = _WEEKS * found["units_7d"] / found["units_28d"] if found["units_28d"] > 0 else None
        found["price"] = prices[-1] if prices else None
        mean = sum(prices) / len(prices) if prices else 0.0
        found["price_ratio"] = prices[-1] / mean if mean > 0 else None
        return {f"item_{name}": value for name, value in found.items()}


def _same_weekday(bought: Timeline, units: Floats, at: Moments) -> Floats:
    """Units sold in the 24 hours that began one, two, three and four weeks before the anchor: float64 [Q]."""
    total = np.zeros(len(at))
    for week in range(1, _WEEKS + 1):
        begin = Moments(at.entity, at.anchor - 7 * week * DAY_US)
        total += bought.sum(units, Moments(at.entity, begin.anchor + DAY_US)) - bought.sum(units, begin)
    return total


def _within(events: Sequence[Event], anchor: int, days: int) -> list[Event]:
    return [event for event in events if event.time >= anchor - days * DAY_US]


def _units(events: Sequence[Event]) -> float:
    return sum(1.0 if event.quantity is None else event.quantity for event in events)
