"""The events as the audit sees them: found by shopper, by item and by instant, with none of the fast code."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl

from workflows.events.asof import Ints
from workflows.events.event_log import ANONYMOUS_PREFIX
from workflows.features.recompute import Event
from workflows.settings import PrepareSettings
from workflows.tasks.split import SplitName

Table: TypeAlias = pl.DataFrame | pl.LazyFrame
"""An example table in memory, or in a file, of which the checks read what they look at."""
Tables = Mapping[tuple[SplitName, str], Table]
"""Example tables by (split, task): tasks are recommend, ranking, cart, cart_requests and, in validation, refit."""

FIX: Final = "This is a fault in how the examples were made, not in your events: report it, and do not train on them."


def file_of(name: tuple[SplitName, str]) -> str:
    """Return what messages call the file of an example table."""
    return f"examples/{name[0]}/{name[1]}.parquet"


def height(table: Table) -> int:
    """Return how many rows an example table has."""
    return int(table.lazy().select(pl.len()).collect().item())


def read(table: Table, *columns: str) -> pl.DataFrame:
    """Read some columns of an example table, [N] rows."""
    return table.lazy().select(columns).collect()


def take(table: Table, rows: Ints) -> pl.DataFrame:
    """Read some rows of an example table, in the order given: ``rows`` is int64 [R], distinct."""
    if isinstance(table, pl.DataFrame):
        return table[rows]
    wanted = pl.Series(np.sort(rows).astype(np.uint32))
    found = table.with_row_index("_row").filter(pl.col("_row").is_in(wanted.implode())).collect(engine="streaming").sort("_row")
    return found.drop("_row")[np.argsort(np.argsort(rows))]


class EventIndex:
    """Finds the events of a key, of an item, and of the items that share a category with it.

    Args:
        events: canonical events in file order.
        settings: which event types are interactions.
    """

    def __init__(self, events: pl.DataFrame, settings: PrepareSettings) -> None:
        self.canonical = events
        self.frame = events.select(
            pl.int_range(pl.len()).alias("row"),
            pl.coalesce("user_id", pl.lit(ANONYMOUS_PREFIX) + pl.col("session_id").fill_null("")).alias("user_key"),
            "item_id",
            "event_type",
            pl.col("timestamp").dt.epoch("us").alias("time"),
            pl.col("category").fill_null(""),
            "brand",
            pl.col("price").fill_nan(None),
            pl.col("event_type").is_in(list(settings.interaction_types)).alias("interaction"),
        )
        self._cached: dict[tuple[str, str], list[Event]] = {}

    @cached_property
    def interactions(self) -> pl.DataFrame:
        """The interactions, and in ``crowd`` how many items their shopper turned to at their instant."""
        rows = self.frame.filter("interaction").select("row", "user_key", "item_id", "time")
        return rows.with_columns(pl.col("item_id").n_unique().over("user_key", "time").alias("crowd"))

    @cached_property
    def crowded(self) -> pl.Series:
        """For each event, whether it is an interaction and its shopper turned to another item at the same instant: bool [N]."""
        rows = self.interactions.filter(pl.col("crowd") > 1)["row"]
        return pl.Series("crowded", [False], dtype=pl.Boolean).new_from_index(0, self.frame.height).scatter(rows, True)

    @cached_property
    def request_kinds(self) -> dict[str, str]:
        """The types of the events that requests tell of: those of a view and of a cart, where the log has such interactions."""
        kinds = self.frame.filter("interaction")["event_type"].to_list()
        counts = {kind: -kinds.count(kind) for kind in sorted(set(kinds))}
        recent = "view" if "view" in counts else min(counts, key=lambda kind: counts[kind], default="view")
        return {"recent_items": recent, "cart_items": "cart" if "cart" in counts else recent}

    def with_keys(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add ``user_key`` to rows that lack it: an example is named by the row of its event."""
        if "user_key" in rows.columns:
            return rows
        return rows.with_columns(self.frame["user_key"].gather(rows["example_id"]).alias("user_key"))

    def of_key(self, key: str) -> list[Event]:
        """List every event of a history key, in order."""
        return self._where("user_key", key)

    def of_item(self, item: str) -> list[Event]:
        """List every event of an item, in order."""
        return self._where("item_id", item)

    def _where(self, column: str, value: str) -> list[dict[str, Any]]:
        if (column, value) not in self._cached:
            self._cached[column, value] = self.frame.filter(pl.col(column) == value).to_dicts()
        return self._cached[column, value]

    def peers(self, item: str, instant: int) -> list[Event]:
        """List, for each other item that ever shared a category with ``item``, what decides its category and price.

        That is its latest event with a category and its latest with a price before ``instant``: all the events of half a shop for
        each sampled row would take minutes.
        """
        categories = list({event["category"] for event in self.of_item(item)} - {""})
        if not categories:
            return []
        members = self.frame.filter(pl.col("category").is_in(categories))["item_id"].unique().to_list()
        others = pl.col("item_id").is_in(members) & (pl.col("item_id") != item)
        past = self.frame.filter((pl.col("time") < instant) & others)
        named, priced = past.filter(pl.col("category") != ""), past.filter(pl.col("price").is_not_null())
        deciding = pl.concat([rows.unique("item_id", keep="last", maintain_order=True) for rows in (named, priced)])
        return deciding.sort("row").to_dicts()
