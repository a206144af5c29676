"""A small run whose examples follow the layout that the features read, fitted once, and a copy of it to damage."""

import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from workflows.features.columns import CROSS, ITEM_CONTINUOUS, QUERY_CONTINUOUS, QUERY_LISTS
from workflows.prepare.features import FeatureReport, fit_features
from workflows.settings import FeatureSettings

sys.path.insert(0, str(Path(__file__).parent))

ITEMS = [f"i{number}" for number in range(12)] + ["ärtikel", "商品"]


def query(rng: np.random.Generator, rows: int, *, prices: bool = True) -> pl.DataFrame:
    """QUERY rows as the examples have them: blanks, nulls and empty lists included."""
    lists = [rng.choice(ITEMS, size=rng.integers(0, 6), replace=False).tolist() for _ in range(rows)]
    numbers = {name: rng.integers(0, 40, rows).astype(np.float32) for name in QUERY_CONTINUOUS}
    frame = pl.DataFrame(
        {
            "user_id": pl.Series([["", "u1", "u2", "u3", "u4"][place] for place in rng.integers(0, 5, rows)], dtype=pl.String),
            "hour": rng.integers(0, 20, rows),
            "weekday": rng.integers(1, 8, rows),
            **numbers,
            "recent_items": pl.Series(lists, dtype=pl.List(pl.String)),
            "recent_categories": pl.Series([[category(item) for item in items] for items in lists], dtype=pl.List(pl.String)),
            "recent_brands": pl.Series([["b1" for _ in items] for items in lists], dtype=pl.List(pl.String)),
        }
    )
    known = pl.Series(rng.random(rows) < 0.7)
    return frame.with_columns(
        user_recency_hours=pl.when(known).then("user_recency_hours"),
        user_mean_price=pl.when(known & prices).then("user_mean_price"),
    )


def category(item: str) -> str:
    return "" if item in ITEMS[:3] else f"c{ITEMS.index(item) % 4}"


def item(rng: np.random.Generator, names: list[str], *, prices: bool = True) -> pl.DataFrame:
    numbers = {name: rng.integers(0, 90, len(names)).astype(np.float32) for name in ITEM_CONTINUOUS}
    categories = [category(name) if name in ITEMS else "new" for name in names]
    frame = pl.DataFrame(
        {"item_id": names, "item_category": categories}, schema_overrides=dict.fromkeys(("item_id", "item_category"), pl.String)
    )
    frame = frame.with_columns(pl.lit("b1").alias("item_brand"), *[pl.Series(name, values) for name, values in numbers.items()])
    return frame.with_columns(
        pl.when(pl.lit(prices) & (pl.col(name) > 9)).then(name) for name in ("item_price", "item_price_ratio")
    )


def cross(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    frame = pl.DataFrame({name: rng.normal(size=rows).astype(np.float32) for name in CROSS})
    return frame.with_columns(pl.when(pl.col("price_gap") > 0).then("price_gap"))


def write_small_run(
    run: Path, seed: int = 0, *, carts: bool = True, prices: bool = True, valid_rows: int = 20, valid_seed: int = 9
) -> Path:
    """Write small examples and a snapshot that follow the layout of a run."""
    for split, rows in (("train", 150), ("valid", valid_rows), ("test", 20)):
        rng = np.random.default_rng(seed if split == "train" else valid_seed)
        folder = run / "examples" / split
        folder.mkdir(parents=True)
        names = [ITEMS[place] for place in rng.integers(0, len(ITEMS) - (2 if split == "train" else 0), rows)]
        queries, items = query(rng, rows, prices=prices), item(rng, names, prices=prices)
        when = pl.lit(datetime(2024, 5, 1)).cast(pl.Datetime("us", "UTC")).alias("anchor")
        both = queries.hstack(items.get_columns())
        recommend = both.with_columns(when, user_key=pl.col("user_id") + "!", target_items=pl.concat_list("item_id"))
        numbered = recommend.with_row_index("example_id").cast({"example_id": pl.Int64})
        numbered.write_parquet(folder / "recommend.parquet")
        if split == "valid":
            numbered.write_parquet(folder / "refit.parquet")
        pairs = both.drop(QUERY_LISTS).hstack(cross(rng, rows).get_columns()).with_columns(when)
        label = pl.Series("label", rng.integers(0, 2, rows), dtype=pl.Int8)
        pairs.with_row_index("example_id").cast({"example_id": pl.Int64}).with_columns(label).write_parquet(
            folder / "ranking.parquet"
        )
        if carts:
            lines = pairs.with_columns(
                label, label.alias("cart_label"), cart_id=pl.lit("cart"), user_key=pl.lit("u"), cart_lines=pl.lit(2.0, pl.Float32)
            )
            lines = lines.with_columns(cart_value=pl.Series(rng.random(rows), dtype=pl.Float32))
            lines.write_parquet(folder / "cart.parquet")
        if split != "train":
            item(rng, sorted([*ITEMS, "never seen"]), prices=prices).write_parquet(folder / "catalogue.parquet")
    rng = np.random.default_rng(7)
    (run / "snapshot").mkdir()
    item(rng, sorted([*ITEMS, "never seen"]), prices=prices).write_parquet(run / "snapshot/items.parquet")
    query(rng, 30, prices=prices).write_parquet(run / "snapshot/queries.parquet")
    query(rng, 20, prices=prices).write_parquet(run / "snapshot/requests.parquet")
    return run


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """The function that writes such a run."""
    return write_small_run


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FeatureReport]:
    run = write_small_run(tmp_path_factory.mktemp("run"))
    return run, fit_features(run, FeatureSettings())


@pytest.fixture
def copied(fitted: tuple[Path, FeatureReport], tmp_path: Path) -> Path:
    """A run to damage."""
    return Path(shutil.copytree(fitted[0], tmp_path / "copied"))
