"""Features of a query and an item together, from integer codes: one function for training, evaluation and serving.

NumPy only, so that the serving room can use it too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PADDING = -1
"""Code of a place in a list of recent items that holds nothing."""
MISSING = 0
"""Code of a category or brand that is not known ("")."""


def cross_features(
    recent_categories: npt.NDArray[Any],
    recent_brands: npt.NDArray[Any],
    user_mean_price: npt.NDArray[Any],
    item_category: npt.NDArray[Any],
    item_brand: npt.NDArray[Any],
    item_price: npt.NDArray[Any],
) -> dict[str, npt.NDArray[np.float32]]:
    """Compare items with what a shopper looked at lately.

    The leading shapes broadcast: queries [Q, 1] against items [1, N] give [Q, N]; queries [Q] against items [Q] give [Q].

    Args:
        recent_categories: int [..., L], code of the category of each recent item; ``MISSING`` or ``PADDING`` where so.
        recent_brands: int [..., L], likewise for brands, coded by their own table.
        user_mean_price: float [...], mean price of past interactions, NaN where unknown.
        item_category: int [...], coded as ``recent_categories``; ``MISSING`` where unknown.
        item_brand: int [...], likewise.
        item_price: float [...], NaN where unknown.

    Returns:
        float32 [...] each, by name in the order of ``columns.CROSS``: ``category_affinity`` and ``brand_affinity`` are the
        shares of the recent items that have the item's category or brand (0 where there are no recent items or the item's is
        missing); ``price_gap`` is log(item price) - log(mean price), NaN where either is missing or not positive.
    """
    return {
        "category_affinity": _affinity(recent_categories, item_category),
        "brand_affinity": _affinity(recent_brands, item_brand),
        "price_gap": _log_positive(item_price) - _log_positive(user_mean_price),
    }


def _affinity(recent: npt.NDArray[Any], own: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    shape = np.broadcast_shapes(recent.shape[:-1], own.shape)
    matches = np.zeros(shape, dtype=np.float32)
    for place in range(recent.shape[-1]):  # place by place: comparing all at once would need L times the memory
        matches += recent[..., place] == own
    recents = (recent != PADDING).sum(axis=-1).astype(np.float32)
    share: npt.NDArray[np.float32] = np.where(own == MISSING, np.float32(0), matches / np.maximum(recents, np.float32(1)))
    return share


def _log_positive(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    single = values.astype(np.float32)
    with np.errstate(invalid="ignore"):
        logs: npt.NDArray[np.float32] = np.log(np.where(single > 0, single, np.float32(np.nan)))
    return logs
