"""Neighbours by item vectors, and whether shoppers view neighbours in one visit."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from models.metrics.ranking import Floats, Ints
from workflows.events.event_log import MINUTE_US, read_events
from workflows.events.sessions import with_sessions


def nearest(vectors: npt.NDArray[Any], rows: Ints, k: int) -> tuple[Ints, Floats]:
    """Return the items whose vectors point most nearly the same way.

    Args:
        vectors: [N, D].
        rows: [m] the items that are asked about.
        k: how many; fewer where there are no more others.

    Returns:
        [m, k] items, the nearest first and of equal ones the first, never the item itself; and their cosines, in [-1, 1].

    >>> nearest(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), np.array([0]), 1)[0]
    array([[2]])
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosine = unit[rows] @ unit.T
    cosine[np.arange(len(rows)), rows] = -np.inf
    order = np.argsort(-cosine, axis=1, kind="stable")[:, : min(k, len(vectors) - 1)]
    return order.astype(np.int64), np.take_along_axis(cosine, order, axis=1).astype(np.float64)


def same_visit(run: Path, since: str, items: list[str], most: int, seed: int) -> tuple[Ints, Ints]:
    """Draw pairs of items that were turned to one after the other in one visit, and pairs of the same items put together at random.

    Args:
        run: run directory after prepare.
        since: ISO 8601; only visits' interactions from then on count.
        items: the N items whose places are wanted; pairs with others are left out, as are pairs of an item with itself.
        most: how many pairs at most; of more, that many are drawn.
        seed: fixes the draw.

    Returns:
        [p, 2] places in ``items`` of pairs of one visit, and as many random pairs, in which each place occurs as often as in the first.
    """
    state = read_json(RunLayout(run).state)
    events = read_events(RunLayout(run).events, own=())
    visits = with_sessions(events, int(state["session_gap_us"]) // MINUTE_US)
    start = datetime.fromisoformat(since)
    turned = (
        visits.filter(pl.col("event_type").is_in(state["interaction_types"]), pl.col("timestamp") >= start)
        .sort("session_id", "timestamp", "item_id")
        .with_columns(pl.col("item_id").cast(pl.String))
    )
    places = pl.DataFrame({"item_id": items}).with_row_index("place")
    pairs = (
        turned.join(places, on="item_id", how="left", maintain_order="left")
        .select(pl.col("place").cast(pl.Int64), pl.col("place").cast(pl.Int64).shift(-1).over("session_id").alias("next"))
        .drop_nulls()
        .filter(pl.col("place") != pl.col("next"))
        .to_numpy()
    )
    generator = np.random.default_rng(seed)
    pairs = pairs[generator.permutation(len(pairs))[:most]]
    return pairs, np.column_stack([pairs[:, 0], generator.permutation(pairs[:, 1])])
