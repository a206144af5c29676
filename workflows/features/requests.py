"""Combines the events of a request with the stored state of a shopper.

A request tells of recent items and of the lines of a cart. Each is one more event of the shopper, at the microsecond before the
request: first the recent items, then the lines, in their order. An item that is told of several times is one event, where it stands
last. The features of the request are those of the stored history with these events appended. Of an item the request knows the id
alone; category, brand and price are what the shop knew of it at the last refresh of its statistics.

A user is known if the stored history has an interaction of theirs, or if the shop's table of users lists them; everybody else is a
stranger, who has neither id nor history. Own columns of a user are as they were when the history was stored; a stranger has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from workflows.events.asof import Bools, Floats, Ints
from workflows.events.event_log import EventLog
from workflows.events.schema import CART, VIEW
from workflows.features.columns import COUNTED_KINDS
from workflows.features.item import ItemHistory, state_instant
from workflows.features.shopper import Added, Queries, ShopperFeatures


def request_kinds(log: EventLog) -> dict[str, str]:
    """Choose of what type the events of requests are, so that they look as the events of the log do.

    Returns:
        ``recent_items`` -> ``view`` where the log has views that are interactions, else its most frequent interaction;
        ``cart_items`` -> ``cart`` where the log has carts that are interactions, else the same as a recent item.
    """
    return choose_kinds(log.kind.filter(pl.Series(log.interaction)))


def choose_kinds(interactions: pl.Series) -> dict[str, str]:
    """Choose as ``request_kinds`` does from the types of all interactions [N]."""
    counts = interactions.alias("kind").value_counts().sort(["count", "kind"], descending=[True, False])
    kinds = counts["kind"].to_list()
    recent = VIEW if VIEW in kinds or not kinds else str(kinds[0])
    return {"recent_items": recent, "cart_items": CART if CART in kinds else recent}


@dataclass(frozen=True)
class Requests:
    """Requests: who asks when, and what each tells of.

    Attributes:
        key: int64 [Q], history key; -1 is a stranger.
        stored: int64 [Q], events and own columns of the key strictly before this instant are stored, microseconds.
        anchor: int64 [Q], when it is asked, microseconds.
        number: int64 [E], the request of each event that is told of; the events of a request are in order, and no item is there
            twice among its recent items, nor among its lines.
        item: int64 [E], their items.
        line: bool [E], whether they are lines of a cart.
    """

    key: Ints
    stored: Ints
    anchor: Ints
    number: Ints
    item: Ints
    line: Bools


def request_queries(
    log: EventLog, history: ShopperFeatures, items: ItemHistory, requests: Requests, state_minutes: int
) -> tuple[ShopperFeatures, Queries]:
    """Compute the query features of requests.

    Args:
        log: the coded events.
        history: their interactions.
        items: the item statistics.
        requests: the requests.
        state_minutes: how often item statistics are refreshed.

    Returns:
        A history that has the events told of behind those of the log, and queries whose recent items are rows of it.
    """
    state = items.arrays(requests.item, state_instant(requests.anchor, state_minutes)[requests.number])
    start, stop = history.bounds(requests.key, requests.stored)
    added = _sums(requests, state["item_price"], request_kinds(log))
    continuous = history.continuous(requests.anchor, start, stop, added)
    told = np.arange(len(requests.item), dtype=np.int64) + len(history.item)
    longer = history.followed_by(requests.item, state["item_category"], state["item_brand"])  # type: ignore[arg-type]
    recent = _recent(longer.item, history.recent(start, stop), requests.number, told)
    return longer, Queries(requests.key, requests.anchor, continuous, recent, requests.stored)


def _sums(requests: Requests, price: Floats | Ints, kinds: dict[str, str]) -> Added:
    count = len(requests.key)

    def total(chosen: Bools, weights: Floats | Ints | None = None) -> Floats:
        found = None if weights is None else weights[chosen]
        return np.bincount(requests.number[chosen], weights=found, minlength=count).astype(np.float64)

    known = ~np.isnan(price)
    of_kind = {kinds["recent_items"]: ~requests.line}
    of_kind[kinds["cart_items"]] = of_kind.get(kinds["cart_items"], np.zeros(len(requests.line), bool)) | requests.line
    nothing = np.zeros(len(requests.line), bool)
    return Added(
        events=total(np.ones(len(requests.line), bool)),
        counts={name: total(of_kind.get(kind, nothing)) for name, kind in COUNTED_KINDS.items()},
        priced=total(known),
        prices=total(known, price),
    )


def _recent(item: Ints, stored: Ints, number: Ints, told: Ints) -> Ints:
    """Put what is told of behind the stored recent items; of each item the last mention counts.

    Args:
        item: int64, the item of each row.
        stored: int64 [Q, L], rows of the stored recent items, most recent first, -1 = none.
        number: int64 [E], the request of each event told of, in order.
        told: int64 [E], its row.

    Returns:
        int64 [Q, L], rows, most recent first, -1 = none.
    """
    width = stored.shape[1]
    query, place = np.nonzero(stored >= 0)
    queries = np.concatenate([query, number])
    rows = np.concatenate([stored[query, place], told])
    time = np.concatenate([-place - 1, np.arange(len(told))])  # the greater, the later
    order = np.lexsort((time, item[rows], queries))
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(queries[order]) != 0) | (np.diff(item[rows][order]) != 0)
    kept = order[last]
    kept = kept[np.lexsort((-time[kept], queries[kept]))]
    sizes = np.bincount(queries[kept], minlength=len(stored))
    rank = np.arange(len(kept)) - (np.cumsum(sizes) - sizes)[queries[kept]]
    found = np.full(stored.shape, -1, dtype=np.int64)
    near = rank < width
    found[queries[kept][near], rank[near]] = rows[kept][near]
    return found
