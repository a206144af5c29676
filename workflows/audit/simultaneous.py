"""Colliding timestamps: what the log's clock cannot tell apart.

The rule of the examples is that a feature sees events strictly before its anchor. So events of one shopper at one instant, such as
the lines of an invoice, are never features of one another, and all of them are true together: their order does not matter, and their
share is only told. Two things are beyond the rule. Where nearly every shopper has only one instant, nothing is before anything. And
where purchases carry the instant at which the item was put into the cart, the order of the rows in the file decides whether a line is
still open, and so what its label is.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from cartwheel.core.errors import LeakageError
from workflows.audit.event_index import FIX, EventIndex, Tables, file_of, read
from workflows.events.event_log import DAY_US, HOUR_US
from workflows.events.schema import CART, PURCHASE
from workflows.settings import PrepareSettings
from workflows.tasks.cart_requests import CART_REQUESTS
from workflows.tasks.recommend import REFIT
from workflows.tasks.recommend_requests import RECOMMEND_REQUESTS
from workflows.tasks.split import iso

MAX_ONE_INSTANT: Final = 0.9
"""Share of the shoppers with several items whose events may all lie at one instant."""
MAX_SIMULTANEOUS_PURCHASES: Final = 0.5
"""Share of the purchases from a cart that may carry the instant of the add."""
MIN_CASES: Final = 20
"""Shoppers, or purchases, from which on a share says something."""
_TOLD_FROM: Final = 0.1


def check_clock(log: EventIndex, settings: PrepareSettings) -> tuple[dict[str, int], list[str]]:
    """Check that the timestamps of the log can carry point-in-time examples.

    Args:
        log: the events.
        settings: the window of a cart.

    Returns:
        ``simultaneous_interactions`` (the shopper turned to another item at the same instant), ``shoppers_of_one_instant`` (several
        items, all at one instant), ``simultaneous_purchases`` (at the instant of the add); and warnings.

    Raises:
        LeakageError: nearly all shoppers have one instant only, or most purchases from carts that of their add.
    """
    crowded = int(log.crowded.sum())
    shoppers = log.interactions.group_by("user_key").agg(pl.col("item_id").n_unique(), pl.col("time").n_unique())
    shoppers = shoppers.filter(pl.col("item_id") > 1)
    one_instant = shoppers.filter(pl.col("time") == 1).height
    if _too_many(one_instant, shoppers.height, MAX_ONE_INSTANT):
        raise LeakageError(
            f"events/events.parquet, column timestamp: {one_instant} of the {shoppers.height} shoppers with several items have all their "
            f"events at one instant, so that nothing of theirs comes before anything; at most {MAX_ONE_INSTANT:.0%} may.",
            "Export when each event happened, not when the shopper was exported or the session began.",
        )
    simultaneous, purchases = _simultaneous_purchases(log, settings)
    if _too_many(simultaneous, purchases, MAX_SIMULTANEOUS_PURCHASES):
        raise LeakageError(
            f"events/events.parquet, column timestamp: {simultaneous} of the {purchases} purchases from a cart carry the instant at which "
            f"the item was added, so that the order of rows in the file would decide the cart labels; at most "
            f"{MAX_SIMULTANEOUS_PURCHASES:.0%} may.",
            "Export the instants of adds and purchases to the second, or leave the cart events out of the log.",
        )
    counts = {
        "simultaneous_interactions": crowded,
        "shoppers_of_one_instant": one_instant,
        "simultaneous_purchases": simultaneous,
    }
    return counts, _warnings(log, crowded, simultaneous, purchases)


def check_simultaneous(tables: Tables, log: EventIndex) -> int:
    """Check the examples at whose instant their shopper turned to several items.

    In validation and test they must be one example, since all those items are true for it; and no ranking pair may call one of them
    a negative.

    Returns:
        How many rows of recommend and ranking have such an instant.

    Raises:
        LeakageError: it names the example.
    """
    looked_at = 0
    for name, table in tables.items():
        if name[1] in {"cart", CART_REQUESTS, RECOMMEND_REQUESTS}:
            continue
        pairs = name[1] == "ranking"
        rows = read(table, "example_id", "anchor", *(("item_id", "label") if pairs else ("user_key",)))
        rows = rows.filter(log.crowded.gather(rows["example_id"]))
        looked_at += rows.height
        if pairs:
            _check_negatives(log.with_keys(rows), log, file_of(name))
        elif name[0] != "train" and name[1] != REFIT:
            twice = rows.filter(rows.select("user_key", "anchor").is_duplicated())
            if not twice.is_empty():
                raise LeakageError(
                    f"{file_of(name)}: {twice.height} examples share shopper and instant with another, the first of {twice['user_key'][0]} "
                    f"at {twice['anchor'][0].isoformat()}; they have one history and one truth, and must be one example.",
                    FIX,
                )
    return looked_at


def _check_negatives(rows: pl.DataFrame, log: EventIndex, file: str) -> None:
    negatives = rows.filter(pl.col("label") == 0).select("user_key", "item_id", pl.col("anchor").dt.epoch("us").alias("time"))
    wrong = negatives.join(log.interactions, on=["user_key", "item_id", "time"], how="semi")
    if not wrong.is_empty():
        first = wrong.row(0, named=True)
        raise LeakageError(
            f"{file}, column label: {wrong.height} pairs are labelled 0 although their shopper turned to the item at the very instant, the "
            f"first {first['user_key']} and {first['item_id']} at {iso(first['time'])}; 1 or no pair is expected.",
            FIX,
        )


def _simultaneous_purchases(log: EventIndex, settings: PrepareSettings) -> tuple[int, int]:
    """Count purchases at the instant of the add of their item, and all purchases within the window of an add."""
    pair = ["user_key", "item_id"]
    bought = log.frame.filter(pl.col("event_type") == PURCHASE).select(*pair, "time").sort("time")
    added = log.frame.filter(pl.col("event_type") == CART).select(*pair, "time", pl.col("time").alias("added")).sort("time")
    # An add and a purchase at one instant are taken for simultaneous whatever their order in the file.
    joined = bought.join_asof(added, on="time", by=pair, strategy="backward", check_sortedness=False)
    apart = joined.select((pl.col("time") - pl.col("added")).alias("apart"))["apart"].drop_nulls()
    within = apart.filter(apart <= round(settings.cart_window_hours * HOUR_US))
    return int((within == 0).sum()), len(within)


def _too_many(cases: int, of: int, share: float) -> bool:
    return of >= MIN_CASES and cases > share * of


def _warnings(log: EventIndex, crowded: int, simultaneous: int, purchases: int) -> list[str]:
    warnings = []
    interactions = log.interactions.height
    if crowded > _TOLD_FROM * interactions:
        warnings.append(
            f"{crowded} of the {interactions} interactions ({crowded / interactions:.0%}) share shopper and instant with one for another "
            f"item. None of them is a feature of another, and all are true together; among a shopper's recent items they stand in the "
            f"order of the rows in the file."
        )
    if simultaneous > _TOLD_FROM * purchases:
        warnings.append(
            f"{simultaneous} of the {purchases} purchases from a cart carry the instant at which the item was added: where the file has "
            f"the purchase after the add, the line counts as closed and makes no example."
        )
    if log.frame.height and (log.frame["time"] % DAY_US == 0).all():
        warnings.append(
            "Every event lies at midnight UTC: the log tells days, not instants, so hours, pauses and sessions say nothing."
        )
    return warnings
