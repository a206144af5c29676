"""The first item embeddings: eigenvectors of what follows what, passed through by both towers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random

from models.families.two_tower.model import build_two_tower
from models.families.two_tower.settings import TwoTowerSettings
from models.families.two_tower.spectral_start import DECAY, HELD_BACK, PRIOR, leading, spectral_vectors, start_spectrally
from models.training.tables import FIRST_ID, OOV_ID, Table, read_sizes, read_table
from workflows.features.columns import ITEM, QUERY


def examples(rows: list[tuple[list[int], int]]) -> Table:
    width = max(len(recent) for recent, _ in rows)
    recent = np.array([[*each, *[0] * (width - len(each))] for each, _ in rows], np.int32)
    return Table(Path("here"), {"recent_items": recent, "item_id": np.array([target for _, target in rows], np.int32)})


def test_the_vectors_multiply_to_the_scaled_counts() -> None:
    """Three items, of which 3 is followed by 4 at once, and 5 by 4 with 3 between: A + A' by hand."""
    rows = examples([([3], 4), ([5, 3], 4), ([], 5)])
    vectors = spectral_vectors(rows, 6, 6)
    counts = np.zeros((6, 6))
    counts[3, 4] = counts[4, 3] = 2.0
    counts[5, 4] = counts[4, 5] = DECAY
    root = 1 / np.sqrt(counts.sum(axis=1) + PRIOR)
    scaled = root[:, None] * counts * root
    values, found = np.linalg.eigh(scaled)
    positive = (found * np.maximum(values, 0)) @ found.T  # what vectors can multiply to
    np.testing.assert_allclose(vectors @ vectors.T, positive, atol=1e-6)
    assert not vectors[:FIRST_ID].any()


def test_ids_that_are_no_item_and_an_item_after_itself_say_nothing() -> None:
    assert not spectral_vectors(examples([([OOV_ID], 3), ([4], OOV_ID), ([4], 4), ([], 3)]), 5, 2).any()


def test_padding_and_the_order_of_the_examples_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    rows = [(rng.integers(3, 40, rng.integers(0, 9)).tolist(), int(rng.integers(3, 40))) for _ in range(300)]
    plain = spectral_vectors(examples(rows), 40, 8)
    padded = examples(rows[::-1])
    padded.columns["recent_items"] = np.pad(padded["recent_items"], ((0, 0), (0, 5)))
    np.testing.assert_allclose(spectral_vectors(padded, 40, 8), plain, atol=1e-5)


@pytest.mark.parametrize("size", [300, 900], ids=["all at once", "by iteration"])
def test_the_leading_eigenvectors_are_found_in_order_and_alike_each_time(size: int) -> None:
    matrix = random(size, size, 0.02, random_state=3, format="csr")
    matrix = csr_matrix(matrix + matrix.T)
    values, vectors = leading(matrix, 12)
    expected = np.linalg.eigvalsh(matrix.toarray())[::-1][:12]
    np.testing.assert_allclose(values, expected, rtol=1e-3)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=0.02)
    again = leading(matrix, 12)
    np.testing.assert_array_equal(again[0], values)
    np.testing.assert_array_equal(again[1], vectors)


def test_an_iteration_that_ends_too_early_gives_what_it_has_found() -> None:
    matrix = random(900, 900, 0.02, random_state=3, format="csr")
    values, vectors = leading(csr_matrix(matrix + matrix.T), 60, most_steps=1)
    assert len(values) < 60
    assert vectors.shape == (900, len(values))


@pytest.fixture(scope="module")
def run(planted: Callable[..., Path], shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("spectral"), shop, 2_000)


@pytest.mark.slow
@pytest.mark.parametrize(("embedding", "dimension"), [(16, 16), (16, 8), (8, 16)])
def test_a_fresh_tower_ranks_what_follows_the_last_item(run: Path, embedding: int, dimension: int) -> None:
    sizes = read_sizes(run / "features/train/recommend")
    train = read_table(run / "features/train/recommend", (*QUERY, *ITEM), sizes)
    settings = TwoTowerSettings(embedding_dimension=embedding, dimension=dimension, hidden=(8,))
    chance, better = (build_two_tower(settings, sizes, seed=2) for _ in range(2))
    assert start_spectrally(better, train) > 20
    test = read_table(run / "features/test/recommend", (*QUERY, *ITEM), sizes)
    catalogue = read_table(run / "features/test/catalogue", ITEM, sizes)
    of_item = {int(item): row for row, item in enumerate(catalogue["item_id"])}
    row = np.array([of_item[int(item)] for item in test["item_id"]])

    def mean_rank(tower: Any) -> float:
        scores = tower.encode_queries(test) @ tower.encode_items(catalogue).T
        return float(np.mean((scores >= scores[np.arange(len(row)), row, None]).sum(axis=1)))

    assert mean_rank(better) < 0.7 * mean_rank(chance)


def test_without_pairs_the_weights_stay_as_they_are(run: Path) -> None:
    sizes = read_sizes(run / "features/train/recommend")
    tower = build_two_tower(TwoTowerSettings(embedding_dimension=8, dimension=8, hidden=(8,)), sizes, seed=2)
    before = [variable.numpy() for variable in tower.variables]
    assert start_spectrally(tower, examples([([], 3), ([], 4)])) == 0
    for variable, value in zip(tower.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("history", ["pooling", "attention", "gru"])
def test_both_towers_pass_the_embedding_through(run: Path, history: str) -> None:
    sizes = read_sizes(run / "features/train/recommend")
    settings = TwoTowerSettings.model_validate({"embedding_dimension": 8, "dimension": 8, "hidden": (), "history": history})
    tower = build_two_tower(settings, sizes, seed=2)
    before = tower.query.layers[1].linear.kernel.numpy()
    start_spectrally(tower, read_table(run / "features/train/recommend", (*QUERY, *ITEM), sizes))
    inputs, layers = tower.query.layers[:2]
    mean, last = inputs.begins("recent_items")
    assert (mean, last) == (8 + 2 + 2, 8 + 2 + 2 + 8)  # behind the shopper, the hour and the weekday
    kernel = layers.linear.kernel.numpy()
    for begin in (mean, last):
        np.testing.assert_array_equal(kernel[begin : begin + 8], np.eye(8))
    np.testing.assert_allclose(kernel[:mean], HELD_BACK * before[:mean])
    assert tower.item.layers[0].begins("item_id") == [0]
    with pytest.raises(KeyError, match="nothing"):
        inputs.begins("nothing")
