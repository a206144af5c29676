"""A two-tower that begins as a factor model: its fresh weights score as that model does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.families.factors.als import ALS
from models.families.two_tower.factor_start import begin_at, folded_in
from models.families.two_tower.model import TwoTower, build_two_tower
from models.families.two_tower.settings import TwoTowerSettings
from models.questions.interactions import Interactions, from_events
from models.training.tables import FIRST_ID, PADDING_ID, Table, read_sizes, read_table
from workflows.features.columns import ITEM, QUERY

WIDTH = 8


@pytest.fixture(scope="module")
def run(planted: Callable[..., Path], shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("factors"), shop, 2_000)


@pytest.fixture(scope="module")
def train(run: Path) -> Table:
    return read_table(run / "features/train/recommend", (*QUERY, *ITEM), read_sizes(run / "features/train/recommend"))


@pytest.fixture(scope="module")
def log(train: Table) -> Interactions:
    """Each example as a shopper who did what was recent and then what came true."""
    recent = train["recent_items"]
    user, place = np.nonzero(recent >= FIRST_ID)
    everyone = np.arange(len(train))
    events = pl.DataFrame(
        {
            "user_id": np.concatenate([user, everyone]),
            "item_id": np.concatenate([recent[user, place], train["item_id"]]).astype(np.int64),
            "timestamp": np.concatenate([place, np.full(len(train), recent.shape[1])]).astype(np.int64),
        }
    )
    return from_events(events.filter(pl.col("item_id") >= FIRST_ID))


@pytest.fixture(scope="module")
def model(log: Interactions) -> ALS:
    fitted = ALS(factors=WIDTH, l2=1.0, seed=4)
    fitted.fit(log)
    return fitted


@pytest.fixture(scope="module")
def factors(model: ALS, log: Interactions, run: Path) -> np.ndarray:
    """The model's factors of each encoded id."""
    result = np.zeros((read_sizes(run / "features/train/recommend")["item_id"], WIDTH), np.float32)
    result[log.item_ids.to_numpy()] = model.item_factors
    return result


def fresh(run: Path, dimension: int = WIDTH) -> TwoTower:
    settings = TwoTowerSettings(embedding_dimension=WIDTH, dimension=dimension, hidden=(8,), start="factors", similarity="dot")
    return build_two_tower(settings, read_sizes(run / "features/train/recommend"), seed=2)


def test_histories_are_folded_in_as_the_model_does(model: ALS) -> None:
    generator, items = np.random.default_rng(5), len(model.item_factors)
    chosen = [generator.choice(items, size, replace=False) for size in (1, 4, 9)]
    listed = np.zeros((3, 9, WIDTH), np.float32)
    for row, each in zip(listed, chosen, strict=True):
        row[: len(each)] = model.item_factors[each]
    every = model.item_factors.astype(np.float64)
    for found, each in zip(folded_in(listed, model), chosen, strict=True):
        confidence, preference = np.ones(items), np.zeros(items)
        confidence[each], preference[each] = model.alpha, 1.0
        expected = np.linalg.solve((every.T * confidence) @ every + model.l2 * np.eye(WIDTH), every.T @ (confidence * preference))
        np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("dimension", [WIDTH, 2 * WIDTH])
def test_a_fresh_tower_orders_as_the_factor_model(
    run: Path, train: Table, model: ALS, factors: np.ndarray, dimension: int
) -> None:
    sizes, rows = read_sizes(run / "features/train/recommend"), np.flatnonzero((train["recent_items"] != PADDING_ID).any(axis=1))
    asked = train.at(rows[:200])
    catalogue = read_table(run / "features/test/catalogue", ITEM, sizes)
    expected = folded_in(factors[asked["recent_items"]], model) @ factors[catalogue["item_id"]].T

    def likeness(tower: TwoTower) -> float:
        scores = tower.encode_queries(asked) @ tower.encode_items(catalogue).T
        return float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(scores, expected, strict=True)]))

    chance, better = fresh(run, dimension), fresh(run, dimension)
    assert begin_at(better, train, model, factors, seed=3) == len(np.flatnonzero(factors.any(axis=1)))
    assert likeness(better) > 0.7
    assert abs(likeness(chance)) < 0.3


def test_without_factors_the_weights_stay_as_they_are(run: Path, train: Table, model: ALS, factors: np.ndarray) -> None:
    tower = fresh(run)
    before = [variable.numpy() for variable in tower.variables]
    assert begin_at(tower, train, model, np.zeros_like(factors), seed=3) == 0
    for variable, value in zip(tower.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_only_a_cosine_has_vectors_of_length_one(run: Path, train: Table, similarity: str) -> None:
    settings = TwoTowerSettings.model_validate(
        {"embedding_dimension": WIDTH, "dimension": WIDTH, "hidden": (8,), "similarity": similarity}
    )
    tower = build_two_tower(settings, read_sizes(run / "features/train/recommend"), seed=2)
    some = train.head(50)
    for vectors in (tower.encode_queries(some), tower.encode_items(some)):
        lengths = np.linalg.norm(vectors, axis=1)
        assert np.allclose(lengths, 1.0, atol=1e-4) == (similarity == "cosine")
