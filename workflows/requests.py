"""What a request adds to what is stored of a shopper.

A request tells of recent items and of the lines of a cart. Each is one more event of the shopper, at the microsecond before the
request: first the recent items, then the lines, in their order. An item that is told of several times is one event, where it stands
last. The features of the request are those of the stored history with these events appended. Of an item the request knows the id
alone; category, brand and price are what the shop knew of it at the last refresh of its statistics.
"""

from __future__ import annotations

import polars as pl

from workflows.event_log import EventLog
from workflows.events import CART, VIEW


def request_kinds(log: EventLog) -> dict[str, str]:
    """Choose of what type the events of requests are, so that they look as the events of the log do.

    Returns:
        ``recent_items`` -> ``view`` where the log has views that are interactions, else its most frequent interaction;
        ``cart_items`` -> ``cart`` where the log has carts that are interactions, else the same as a recent item.
    """
    counts = log.kind.filter(pl.Series(log.interaction)).value_counts().sort(["count", log.kind.name], descending=[True, False])
    kinds = counts[log.kind.name].to_list()
    recent = VIEW if VIEW in kinds or not kinds else str(kinds[0])
    return {"recent_items": recent, "cart_items": CART if CART in kinds else recent}
