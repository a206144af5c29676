"""Descriptions of items for readers: titles from the log, and category, brand and price from the catalogue."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.frames import read_frame, scan_frame
from cartwheel.core.run_layout import RunLayout
from evaluation.report.details import Item

TITLE_COLUMNS: Final = (
    "title",
    "item_title",
    "product_title",
    "name",
    "item_name",
    "product_name",
    "description",
    "item_description",
)
"""Own columns of a log that hold what an item is called, the likeliest first."""


def read_items(run: Path, split: str, wanted: Collection[str]) -> dict[str, Item]:
    """Return what is known of some items, as of the split's beginning, except the title, which is the last one of the log.

    Args:
        run: run directory after prepare.
        split: ``valid`` or ``test``.
        wanted: item ids as examples hold them; those that no file knows come back with their id alone.

    Raises:
        RunError: if the catalogue or the events are missing.
    """
    columns = ["item_id", "item_category", "item_brand", "item_price", "item_events"]
    catalogue = read_frame(RunLayout(run).examples(split, "catalogue"), columns)
    known = {row["item_id"]: row for row in catalogue.filter(pl.col("item_id").is_in(list(wanted))).iter_rows(named=True)}
    titles = read_titles(run, wanted)
    return {item: _item(item, titles.get(item), known.get(item, {})) for item in wanted}


def read_titles(run: Path, wanted: Collection[str]) -> dict[str, str]:
    """Return the titles of the items that the log calls by one; empty where it has no column of ``TITLE_COLUMNS``.

    Raises:
        RunError: if the events are missing.
    """
    events = scan_frame(RunLayout(run).events)
    held = events.collect_schema()
    column = next((name for name in TITLE_COLUMNS if held.get(name) == pl.String), None)
    if column is None:
        return {}
    item, title = pl.col("item_id").cast(pl.String), pl.col(column).str.strip_chars()
    found = (
        events.select(item, "timestamp", title.alias("title"))
        .filter(pl.col("item_id").is_in(list(wanted)) & (pl.col("title") != ""))
        .group_by("item_id")
        .agg(pl.col("title").sort_by("timestamp", "title").last())
        .collect()
    )
    return dict(found.iter_rows())


def _item(item_id: str, title: str | None, row: dict[str, Any]) -> Item:
    price = row.get("item_price")
    return Item(
        item_id=item_id,
        title=title,
        category=row.get("item_category") or None,
        brand=row.get("item_brand") or None,
        price=None if price is None or price != price else round(float(price), 2),
        interactions=int(row.get("item_events") or 0),
    )
