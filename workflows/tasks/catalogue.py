"""The items a shop had at an instant: candidate sets of the evaluation and of the server."""

from __future__ import annotations

import numpy as np
import polars as pl

from workflows.features.item import ItemHistory


def catalogue_frame(items: ItemHistory, instant: int) -> pl.DataFrame:
    """List every item that was seen, or that the shop listed, strictly before an instant.

    Args:
        items: the item statistics.
        instant: microseconds since 1970 UTC; the statistics are as of this very instant.

    Returns:
        The item columns, sorted by ``item_id``.
    """
    seen = np.flatnonzero(items.on_sale < instant).astype(np.int64)
    return items.frame(seen, items.arrays(seen, np.full(len(seen), instant, dtype=np.int64)))
