"""Logs that are written before they are evaluated: simulated shops of different character, and a part of a published log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import DataError
from cartwheel.core.files import atomic_path, write_json
from cartwheel.core.tables import read_json
from workflows.simulate import SimulateSettings, simulate

Maker = Callable[[Path, Path, int, bool], Path]
"""Takes a data set's path, a folder to write to, a seed, and whether it is a quick run; returns the events file."""

STRANGERS: Final = {"shoppers": 12_000, "sessions_per_week": 0.25, "joined": 0.9}
"""Few come a second time, and most are new."""
SEASONS: Final = {"shoppers": 3_000, "drift": 3.0, "launched": 0.6}
"""What sells changes from week to week, and most items are launched within the log."""
KINDS: Final = {"shoppers": 2_000, "views_per_session": 12.0}
"""Long sessions of views, with what is put into carts, taken out, bought and sent back among them."""
_QUICK: Final = {"shoppers": 400, "items": 300, "days": 30}


def shop(character: Mapping[str, Any]) -> Maker:
    """Return what simulates a shop; nothing is done where the same one lies there already."""

    def make(_: Path, folder: Path, seed: int, quick: bool) -> Path:
        settings = SimulateSettings(**{**character, **(_QUICK if quick else {})})
        told, wanted = folder / "made.json", {"seed": seed, "settings": settings.model_dump(mode="json")}
        events = folder / "events.parquet"
        if not events.is_file() or not told.is_file() or read_json(told) != wanted:
            simulate(settings, seed, folder)
            write_json(told, wanted)
        return events

    return make


def retailrocket_purchases(path: Path, folder: Path, _: int, quick: bool) -> Path:
    """Write the purchases of RetailRocket's events.

    Raises:
        DataError: if the file lacks a column.
    """
    raw = pl.read_csv(path, infer_schema=False)
    missing = {"timestamp", "visitorid", "event", "itemid"} - set(raw.columns)
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}.", "Give the publisher's file, unchanged.")
    bought = raw.filter(pl.col("event") == "transaction")
    events = bought.select(
        pl.col("visitorid").alias("user_id"),
        pl.col("itemid").alias("item_id"),
        pl.from_epoch(pl.col("timestamp").cast(pl.Int64), "ms")
        .dt.cast_time_unit("us")
        .dt.replace_time_zone("UTC")
        .alias("timestamp"),
        pl.lit("purchase").alias("event_type"),
    ).sort("timestamp", maintain_order=True)
    target = folder / "events.parquet"
    wanted = events.head(3_000) if quick else events
    if not target.is_file() or not pl.read_parquet(target).equals(wanted):
        with atomic_path(target) as aside:
            wanted.write_parquet(aside)
    return target
