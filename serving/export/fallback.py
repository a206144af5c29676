"""Tables of the gateway's fallbacks: popular items, their categories, and neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.contract.fallback import FILE, KEPT_NEIGHBOURS, FallbackTables
from serving.ensembles.served import ShopParts
from serving.pieces.state import NeighbourTable

_LEFT_OUT_WHEN_RECENT = ("recent", "interacted")


def write_fallback(root: Path, shop: ShopParts) -> None:
    """Write the tables into the folder of a repository."""
    catalogue, state = shop.snapshot.catalogue, shop.snapshot.state
    count = len(catalogue.ids)
    neighbours, weights = _neighbours(shop.models.retrieval.tables, count)
    FallbackTables(
        ids=tuple(text.encode() for text in catalogue.ids),
        popularity=catalogue.popularity[:count],
        categories=catalogue.category_codes[:count].astype(np.int32),
        neighbours=neighbours,
        weights=weights,
        leaves_recents_out=state.leave_out in _LEFT_OUT_WHEN_RECENT,
        max_k=shop.sizes.max_k,
    ).write(root / FILE)


def _neighbours(tables: tuple[NeighbourTable, ...], count: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the strongest neighbours of each item over all tables, and how much the latest of the recent items adds to them."""
    if not tables:
        return np.zeros((count, 0), np.int32), np.zeros((count, 0), np.float32)
    columns = np.concatenate([table.columns[:count] for table in tables], axis=1)
    additions = np.concatenate([table.additions[:count] * table.shares[0] for table in tables], axis=1)
    additions = np.where(columns < count, additions, np.float32(0))
    order = np.argsort(-additions, axis=1, kind="stable")[:, :KEPT_NEIGHBOURS]
    weights = np.take_along_axis(additions, order, axis=1).astype(np.float32)
    found = np.take_along_axis(columns, order, axis=1)
    return np.where(weights > 0, found, -1).astype(np.int32), weights
