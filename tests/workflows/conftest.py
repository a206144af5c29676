"""A little shop log with every awkwardness that the examples must survive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.files import write_json
from workflows.prepare.examples import build_examples
from workflows.settings import PrepareSettings

START_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000


def make_events(rows: list[dict[str, object]]) -> pl.DataFrame:
    """Make canonical events of dictionaries with ``time`` in microseconds; what is not given is missing."""
    schema = {
        "user_id": pl.String,
        "item_id": pl.String,
        "event_type": pl.String,
        "time": pl.Int64,
        "session_id": pl.String,
        "category": pl.String,
        "brand": pl.String,
        "price": pl.Float64,
        "quantity": pl.Float64,
    }
    frame = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)
    stamp = pl.col("time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("timestamp")
    return frame.with_columns(stamp).drop("time").sort("timestamp", maintain_order=True)


def random_events(count: int, seed: int, *, users: int = 40, items: int = 60, days: float = 20.0) -> pl.DataFrame:
    """Make a log with sessions, simultaneous events, anonymous baskets, changing prices and categories, and missing values."""
    rng = np.random.default_rng(seed)
    span = int(days * 24 * 60)
    visits = rng.integers(0, span, size=max(count // 5, 1))
    visitors = np.minimum(rng.geometric(0.06, len(visits)) - 1, users - 1)
    rows: list[dict[str, object]] = []
    for number in rng.integers(0, len(visits), size=count).tolist():
        item = int(min(rng.geometric(0.05) - 1, items - 1))
        anonymous = visitors[number] % 7 == 6
        rows.append(
            {
                "user_id": None if anonymous else f"u{visitors[number]}",
                "session_id": f"s{number}" if anonymous or visitors[number] % 3 == 0 else None,
                "item_id": f"i{item}",
                "event_type": str(
                    rng.choice(
                        ["view", "cart", "purchase", "remove_from_cart", "refund", "rating"], p=[0.5, 0.2, 0.2, 0.05, 0.03, 0.02]
                    )
                ),
                "time": START_US + (int(visits[number]) + int(rng.integers(0, 12)) * 5) * MINUTE_US,
                "category": None if item % 11 == 0 else f"c{(item + int(rng.random() < 0.05)) % 4}",
                "brand": None if rng.random() < 0.2 else f"b{item % 5}",
                "price": None if rng.random() < 0.3 else float(np.round(5 + item + rng.random(), 2)),
            }
        )
    return make_events(rows)


@pytest.fixture(scope="session")
def event_maker() -> Callable[[list[dict[str, object]]], pl.DataFrame]:
    return make_events


@pytest.fixture(scope="session")
def log_maker() -> Callable[..., pl.DataFrame]:
    return random_events


@pytest.fixture(scope="session")
def shop_settings() -> PrepareSettings:
    return PrepareSettings(
        recent_items=4,
        state_minutes=360,
        popularity_days=2.5,
        horizon_days=1.5,
        cart_window_hours=10.0,
        negatives=3,
        max_eval_anchors=80,
    )


@pytest.fixture(scope="session")
def shop_events() -> pl.DataFrame:
    return random_events(2500, seed=5)


@pytest.fixture(scope="session")
def shop_run(shop_events: pl.DataFrame, shop_settings: PrepareSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with events, examples and a snapshot; read it, never write to it."""
    run = tmp_path_factory.mktemp("run")
    (run / "events").mkdir()
    shop_events.write_parquet(run / "events" / "events.parquet")
    write_json(run / "events" / "summary.json", {"id_types": {"user_id": "string", "item_id": "int64"}})
    build_examples(run / "events" / "events.parquet", run, shop_settings, seed=3)
    return run
