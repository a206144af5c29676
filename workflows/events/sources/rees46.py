"""REES46 multi-category shop: one CSV a month, ``2019-Oct.csv`` and on (https://rees46.com/en/datasets)."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from workflows.events.sources.base import FileSource, Names


class Rees46(FileSource):
    """Views, carts, removals and purchases with category, brand and price.

    ``category`` is the category code (``electronics.smartphone``) and, for the third of the rows that have none, the category id:
    every row has an id, one id always means the same shelf, and a code has letters where an id has digits alone, so the two
    cannot be mistaken for one another. The id also stays as the own column ``category_id``.
    """

    kind = "rees46"
    required: ClassVar[Names] = {
        "user_id": ("user_id",),
        "item_id": ("product_id",),
        "event_type": ("event_type",),
        "timestamp": ("event_time",),
    }
    optional: ClassVar[Names] = {
        "session_id": ("user_session",),
        "category": ("category_code",),
        "brand": ("brand",),
        "price": ("price",),
    }
    own: ClassVar[Names] = {"category_id": ("category_id",)}

    def shape(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Fill missing category codes with the category id."""
        if "category_id" not in events.collect_schema():
            return events
        category_id = pl.col("category_id").cast(pl.String)
        return events.with_columns(category_id=category_id, category=pl.coalesce("category", category_id))
