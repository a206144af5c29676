"""A small shop with planted structure, written as the encoded features that the models train on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflows.features.columns import CART, CROSS, ITEM, ITEM_CONTINUOUS, QUERY_CONTINUOUS, QUERY_LISTS, QUERY_SCALARS

FIRST_ID = 3  # NVTabular keeps 0 for padding, 1 for null, 2 for out-of-vocabulary


@dataclass(frozen=True)
class Shop:
    """Every item has a category, a brand within it and five likely successors; every shopper has two loved categories."""

    users: int
    items: int
    categories: int
    category: np.ndarray
    brand: np.ndarray
    popularity: np.ndarray
    price: np.ndarray
    successors: np.ndarray
    loved: np.ndarray

    @property
    def cardinalities(self) -> dict[str, int]:
        sizes = {"user_id": self.users, "item_id": self.items, "item_category": self.categories}
        sizes |= {"item_brand": 3 * self.categories, "hour": 24, "weekday": 7}
        sizes |= {"recent_items": self.items, "recent_categories": self.categories, "recent_brands": 3 * self.categories}
        return {name: size + FIRST_ID for name, size in sizes.items()}


def make_shop(users: int = 300, items: int = 200, categories: int = 10, seed: int = 7) -> Shop:
    rng = np.random.default_rng(seed)
    category = rng.integers(categories, size=items)
    popularity = 1.0 / (1.0 + rng.permutation(items)) ** 0.7
    successors = np.stack([rng.choice(np.flatnonzero(category == c), size=5) for c in category])
    brand = category * 3 + rng.integers(3, size=items)
    price = np.exp(rng.normal(3.0, 0.7, items))
    return Shop(
        users, items, categories, category, brand, popularity, price, successors, rng.integers(categories, size=(users, 2))
    )


def make_examples(shop: Shop, rows: int, seed: int, length: int = 10) -> dict[str, Any]:
    """Draw queries and their next item; recents walk within one category, so the last item tells most of the next."""
    rng = np.random.default_rng(seed)
    user = rng.integers(shop.users, size=rows)
    theme = np.where(
        rng.random(rows) < 0.8, shop.loved[user, rng.integers(2, size=rows)], rng.integers(shop.categories, size=rows)
    )
    weights = [np.where(shop.category == c, shop.popularity, 0.0) for c in range(shop.categories)]
    cumulative = np.concatenate([np.cumsum(w / w.sum()) + c for c, w in enumerate(weights)])
    steps = np.zeros((rows, length + 1), dtype=np.int64)
    for position in range(length + 1):
        drawn = np.searchsorted(cumulative, theme + rng.random(rows) * (1 - 1e-9)) - theme * shop.items
        follows = (rng.random(rows) < 0.6) & (position > 0)
        steps[:, position] = np.where(follows, shop.successors[steps[:, position - 1], rng.integers(5, size=rows)], drawn)
    lengths = rng.integers(0, length + 1, size=rows)
    recents = [steps[i, length - n : length] for i, n in enumerate(lengths)]
    columns: dict[str, Any] = {"user_id": user + FIRST_ID, "hour": rng.integers(24, size=rows) + FIRST_ID}
    columns["weekday"] = rng.integers(7, size=rows) + FIRST_ID
    columns |= {name: rng.normal(size=rows).astype(np.float32) for name in QUERY_CONTINUOUS}
    columns["recent_items"] = [r + FIRST_ID for r in recents]
    columns["recent_categories"] = [shop.category[r] + FIRST_ID for r in recents]
    columns["recent_brands"] = [shop.brand[r] + FIRST_ID for r in recents]
    return columns | item_columns(shop, steps[:, length])


def item_columns(shop: Shop, items: np.ndarray) -> dict[str, Any]:
    """ITEM columns of ``items`` (indices from 0)."""
    columns: dict[str, Any] = {"item_id": items + FIRST_ID, "item_category": shop.category[items] + FIRST_ID}
    columns["item_brand"] = shop.brand[items] + FIRST_ID
    logged, popular = np.log(shop.price), np.log(shop.popularity)
    values = {
        "item_price": (logged - logged.mean()) / logged.std(),
        "item_recent_events": (popular - popular.mean()) / popular.std(),
    }
    values["item_events"] = values["item_recent_events"]
    return columns | {name: values.get(name, np.zeros(shop.items))[items].astype(np.float32) for name in ITEM_CONTINUOUS}


def make_pairs(shop: Shop, rows: int, seed: int, *, cart: bool) -> dict[str, Any]:
    """Draw query-item pairs; the label follows a shopper's love of the category, the pair's affinity and the price."""
    rng = np.random.default_rng(seed)
    examples = make_examples(shop, rows, seed)
    columns = {name: examples[name] for name in QUERY_SCALARS}
    item = np.where(rng.random(rows) < 0.5, examples["item_id"] - FIRST_ID, rng.integers(shop.items, size=rows))
    columns |= item_columns(shop, item)
    loves = (shop.loved[columns["user_id"] - FIRST_ID] == shop.category[item][:, None]).any(axis=1)
    affinity = np.clip(loves * 0.6 + rng.normal(0, 0.2, rows), 0, 1)
    columns |= {name: affinity.astype(np.float32) for name in CROSS}
    logit = 2.5 * loves + 2.0 * affinity - 2.5 - 0.5 * columns["item_price"]
    columns["label"] = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    if cart:
        columns |= {name: rng.normal(size=rows).astype(np.float32) for name in CART}
        carts = np.sort(rng.integers(max(rows // 3, 1), size=rows))
        bought = np.bincount(carts, weights=columns["label"], minlength=carts.max() + 1) > 0
        columns["cart_id"] = [f"cart-{c}" for c in carts]
        columns["user_key"] = [f"user-{c % shop.users}" for c in carts]
        columns["cart_label"] = bought[carts].astype(np.int8)
    return columns


def write_features(folder: Path, columns: dict[str, Any], cardinalities: dict[str, int]) -> None:
    """Write parquet and the Merlin schema beside it, as the feature stage does."""
    from merlin.schema import ColumnSchema, Schema, Tags
    from merlin.schema.io.tensorflow_metadata import TensorflowMetadata

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: pa.array([list(map(int, v)) for v in values], pa.list_(pa.int64())) if name in QUERY_LISTS else pa.array(values)
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), folder / "part_0.parquet")
    described = []
    for name in columns:
        if name in cardinalities:
            size = cardinalities[name]
            properties = {
                "domain": {"min": 0, "max": size - 1, "name": name},
                "embedding_sizes": {"cardinality": float(size), "dimension": 16.0},
            }
            described.append(
                ColumnSchema(name, tags=[Tags.CATEGORICAL], properties=properties, dtype=np.int64, is_list=name in QUERY_LISTS)
            )
        elif columns[name] is not None and np.asarray(columns[name][:1]).dtype == np.float32:
            described.append(ColumnSchema(name, tags=[Tags.CONTINUOUS], dtype=np.float32))
    TensorflowMetadata.from_merlin_schema(Schema(described)).to_proto_text_file(str(folder))


def write_run(run: Path, shop: Shop, rows: int, *, pairs: int = 0, cart: int = 0, seed: int = 1) -> Path:
    """Write every table of ``features/`` for a run."""
    sizes = shop.cardinalities
    everything = item_columns(shop, np.arange(shop.items))
    for number, split in enumerate(("train", "valid", "test")):
        share = 1 if split == "train" else 8
        folder = run / "features" / split
        write_features(folder / "recommend", make_examples(shop, rows // share, seed + number), sizes)
        if split == "valid":
            write_features(folder / "refit", make_examples(shop, rows // 4, seed + 40), sizes)
        if pairs:
            write_features(folder / "ranking", make_pairs(shop, pairs // share, seed + 10 + number, cart=False), sizes)
        if cart:
            write_features(folder / "cart", make_pairs(shop, cart // share, seed + 20 + number, cart=True), sizes)
        if split != "train":
            write_features(folder / "catalogue", everything, sizes)
    queries = make_examples(shop, 32, seed + 30)
    write_features(run / "features" / "snapshot" / "queries", {n: v for n, v in queries.items() if n not in ITEM}, sizes)
    write_features(run / "features" / "snapshot" / "items", everything, sizes)
    return run


@pytest.fixture(scope="session")
def shop() -> Shop:
    return make_shop()


@pytest.fixture(scope="session")
def planted() -> Callable[..., Path]:
    """``planted(run, shop, rows, pairs=…, cart=…)`` writes a run's features."""
    return write_run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Path:
    """Features of a run that trains in a few seconds; tests that write into it write only ``models/``."""
    return write_run(tmp_path_factory.mktemp("small"), shop, 6_000, pairs=6_000, cart=3_000)


@pytest.fixture(scope="session")
def trained(small_run: Path) -> Path:
    """The small run with its three models trained; tests only read it."""
    from models.families.dlrm.settings import DLRMSettings
    from models.families.dlrm.train import train_dlrm
    from models.families.two_tower.settings import TwoTowerSettings
    from models.families.two_tower.train import train_two_tower
    from models.retrieval.choose_fusion import default_fusion_weight
    from models.retrieval.fusion import Fusion, write_fusion

    two_tower = TwoTowerSettings(epochs=4, batch_size=256, learning_rate=0.01, embedding_dimension=32, dimension=32)
    ranking = DLRMSettings(epochs=3, batch_size=256, learning_rate=0.01)
    train_two_tower(small_run, two_tower, seed=3)
    weight = default_fusion_weight(two_tower)
    train_dlrm(small_run, "ranking", ranking, 3, lambda folder: write_fusion(folder, Fusion(weight)))
    train_dlrm(small_run, "cart", ranking, 3)
    return small_run
