"""Buying rhythm of a user: time since the first order, intervals between orders, and the expected time of the next."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import polars as pl

from workflows.events.event_log import DAY_US, EventLog, float32
from workflows.events.schema import PURCHASE
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import FeatureFamily, Moments, Past
from workflows.features.timeline import Timeline, first_of, ratio


def _days(name: str, kind: Kind, title: str) -> Column:
    return Column(f"user_{name}", Owner.SHOPPER, kind, title)


class BuyingCycle(FeatureFamily):
    """Pauses between a user's orders; an order is an instant with a purchase."""

    name: ClassVar[str] = "buying_cycle"
    owner: ClassVar[Owner] = Owner.SHOPPER
    columns = (
        _days("days_since_first_purchase", Kind.AMOUNT, "days since the first purchase"),
        _days("last_gap_days", Kind.AMOUNT, "days between the last two orders"),
        _days("longest_gap_days", Kind.AMOUNT, "most days between two orders"),
        _days("due_days", Kind.NUMBER, "days until the next order is due, by the mean pause; below 0 where it is overdue"),
    )

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns, float32 [Q]; null where there is no order, or no pause between two."""
        bought, order = log.is_kind(PURCHASE), np.zeros(len(log.key), dtype=bool)
        order[bought] = first_of(log.key[bought], log.time[bought])
        orders = Timeline(log, log.key, order)
        gap = np.zeros(len(log.key))
        later = orders.rows[1:][orders.group[1:] == orders.group[:-1]]
        gap[later] = (orders.time[1:] - orders.time[:-1])[orders.group[1:] == orders.group[:-1]] / DAY_US
        again, since_first, since_last = orders.count(at) > 1, orders.days_since_first(at), orders.days_since_last(at)
        mean = ratio(since_first - since_last, orders.count(at) - 1)
        found = {
            "days_since_first_purchase": since_first,
            "last_gap_days": np.where(again, orders.last(gap, at), np.nan),
            "longest_gap_days": np.where(again, orders.highest(gap, at), np.nan),
            "due_days": np.where(again, mean - since_last, np.nan),
        }
        return pl.DataFrame({column.name: float32(found[column.name.removeprefix("user_")]) for column in self.columns})

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the same of one user."""
        orders = sorted({event.time for event in past.events if event.kind == PURCHASE})
        gaps = [(later - earlier) / DAY_US for earlier, later in itertools.pairwise(orders)]
        since = (past.anchor - orders[-1]) / DAY_US if orders else None
        return {
            "user_days_since_first_purchase": (past.anchor - orders[0]) / DAY_US if orders else None,
            "user_last_gap_days": gaps[-1] if gaps else None,
            "user_longest_gap_days": max(gaps) if gaps else None,
            "user_due_days": sum(gaps) / len(gaps) - since if gaps and since is not None else None,
        }
