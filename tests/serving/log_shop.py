"""A synthetic run whose snapshot is that of a random log, and what the batch code computes from such a log: for tests of laws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
from synthetic_run import AS_OF_US, SESSION_GAP_US, SyntheticRun

from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.events.event_log import EVENT_COLUMNS, EventLog, code_events
from workflows.features.columns import QUERY, QUERY_CONTINUOUS, QUERY_LISTS, STRINGS
from workflows.features.item import ItemHistory
from workflows.features.requests import request_kinds
from workflows.features.shopper import ShopperFeatures
from workflows.prepare.snapshot import left_out_columns, users_frame
from workflows.settings import LeaveOut
from workflows.tasks.catalogue import catalogue_frame
from workflows.tasks.leave_out import LeftOut

LENGTH = 5
KINDS = ("view", "cart", "purchase", "rating")
MINUTES = SESSION_GAP_US // 60_000_000
NEW = "new"
"""A key that the log does not know."""


def random_log(seed: int = 3, idle_us: int = 0, kinds: Sequence[str] = KINDS) -> pl.DataFrame:
    """Events up to the snapshot: sessions that are still running, missing prices, changing categories.

    Args:
        seed: of the draw.
        idle_us: how long before the snapshot the last of them is, microseconds.
        kinds: four event types, from frequent to rare.
    """
    rng = np.random.default_rng(seed)
    items = rng.integers(0, 30, 400)
    gaps = rng.choice([0, 1, 5, MINUTES, MINUTES + 1, 600], 400)
    users = np.sort(rng.integers(0, 12, 400))
    minutes = np.concatenate([np.cumsum(gaps[users == user][::-1])[::-1] for user in range(12)])
    prices = np.where(rng.random(400) < 0.3, np.nan, np.round(5.0 + items + rng.random(400), 2))
    return pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in users],
            "item_id": [str(1000 + item) for item in items],
            "event_type": rng.choice(kinds, 400, p=[0.6, 0.2, 0.1, 0.1]).tolist(),
            "timestamp": pl.Series(AS_OF_US - 1 - idle_us - minutes * 60_000_000)
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone("UTC"),
            "session_id": None,
            "category": [None if item % 5 == 0 else ("books", "garden", "music")[item % 3] for item in items],
            "brand": [None if item % 4 == 0 else ("acme", "zeta")[item % 2] for item in items],
            "price": pl.Series(prices, nan_to_null=True),
            "quantity": None,
        },
        schema=EVENT_COLUMNS,
    ).sort("timestamp", maintain_order=True)


class Shop(SyntheticRun):
    """A synthetic run whose snapshot is that of a log."""

    def __init__(self, path: Path, events: pl.DataFrame, leave_out: LeaveOut = "interacted") -> None:
        super().__init__(path, items=30, users=12, seed=7, cart=True, dimension=8, recents=LENGTH, leave_out=leave_out)
        log = code_events(events, KINDS)
        catalogue = catalogue_frame(ItemHistory(log, 7.0), AS_OF_US)
        history = ShopperFeatures(log, MINUTES, LENGTH)
        users = users_frame(log, history, AS_OF_US)
        users = users.hstack(left_out_columns(log, history, users, AS_OF_US, LeftOut(log, history, leave_out)))
        self.last_event_us = log.last
        self.items = catalogue.to_dict(as_series=False)
        self.item_ids = self.items["item_id"]
        self.users = users.with_columns(
            pl.col("last_seen", "session_start").dt.epoch("us"), pl.col("session_events").cast(pl.Float32)
        ).to_dict(as_series=False)
        self.user_ids = self.users["user_id"]
        assert request_kinds(log) == {"recent_items": "view", "cart_items": "cart"}


def query(log: EventLog, request: dict[str, Any], stored: set[str] | None = None) -> dict[str, Any]:
    """The raw QUERY columns of the shopper in a log at the instant of the request; ``stored`` are known, by default users of the log."""
    history = ShopperFeatures(log, MINUTES, LENGTH)
    known = request["user_id"].startswith("u") if stored is None else request["user_id"] in stored
    name = request["user_id"] if known else NEW
    key = np.flatnonzero((log.users == name).to_numpy())
    found = history.queries(key if len(key) else np.array([-1]), np.array([AS_OF_US + request["later"]]))
    row = history.frame(found, lists=True).row(0, named=True)
    return row | {"user_id": request["user_id"] if known else ""}


def feed(name: str, values: list[Any]) -> np.ndarray:
    if name in QUERY_LISTS:
        return np.array([[*value, *[""] * (LENGTH - len(value))] for value in values], dtype=object)
    if name in STRINGS:
        return np.array(values, dtype=object).reshape(-1, 1)
    filled = [np.nan if value is None else value for value in values]
    return np.array(filled, np.float32 if name in QUERY_CONTINUOUS else np.int64).reshape(-1, 1)


def encoded(run: Path, queries: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The encoded columns of raw queries."""
    workflow = onnxruntime.InferenceSession(str(run / "workflow/query.onnx"))
    names = [output.name for output in workflow.get_outputs()]
    values = workflow.run(names, {name: feed(name, [query[name] for query in queries]) for name in QUERY})
    return {name.removesuffix(ENCODED_SUFFIX): value for name, value in zip(names, values, strict=True)}
