"""The compiled loops against brute force, whatever the scores: ties, what is left out, few and many truth items, both precisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.metrics import ranking
from models.metrics.compiled import DROPPING, NEAR, count_above_and_tied
from models.metrics.ranking import place, top_columns

DTYPES = [np.float32, np.float64]


def scores_of(seed: int, lists: int, items: int, levels: int, hidden: float, dtype: type) -> np.ndarray:
    """Scores of few different values, some of them -inf."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (lists, items)).astype(dtype) / 7
    scores[rng.random((lists, items)) < hidden] = -np.inf
    return scores


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    seed=st.integers(0, 2**31),
    items=st.integers(1, 700),
    levels=st.integers(1, 2000),
    hidden=st.sampled_from([0.0, 0.3, 1.0]),
    k=st.integers(0, 30) | st.just(800),
)
@example(seed=0, items=513, levels=1, hidden=0.0, k=20)
@settings(max_examples=150, deadline=None)
def test_the_first_k_are_those_of_a_stable_sort(dtype: type, seed: int, items: int, levels: int, hidden: float, k: int) -> None:
    scores = scores_of(seed, 3, items, levels, hidden, dtype)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    shown = np.take_along_axis(scores, expected, axis=1) > -np.inf
    np.testing.assert_array_equal(top_columns(scores, k), np.where(shown, expected, -1))


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    seed=st.integers(0, 2**31),
    items=st.integers(1, 700),
    levels=st.integers(1, 2000),
    truths=st.sampled_from([1, 5, DROPPING, DROPPING + 1, 90]),
)
@settings(max_examples=150, deadline=None)
def test_counts_are_those_of_comparing_all(dtype: type, seed: int, items: int, levels: int, truths: int) -> None:
    scores = scores_of(seed, 3, items, levels, 0.2, dtype)
    rng = np.random.default_rng(seed)
    row, column = rng.permutation(np.repeat([2, 0], truths)), rng.integers(0, items, 2 * truths)
    own = scores[row, column]
    above, tied = np.zeros(len(row), np.int64), np.zeros(len(row), np.int64)
    count_above_and_tied(scores, row, own, np.argsort(row, kind="stable"), above, tied)
    np.testing.assert_array_equal(above, (scores[row] > own[:, None]).sum(axis=1))
    np.testing.assert_array_equal(tied, (scores[row] == own[:, None]).sum(axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("items", [NEAR - 1, NEAR, 2 * NEAR + 17])
@given(seed=st.integers(0, 2**31), levels=st.integers(1, 5000), truths=st.lists(st.integers(0, 30), min_size=4, max_size=4))
@settings(max_examples=25, deadline=None)
def test_truth_items_are_placed_as_comparing_all_places_them(
    dtype: type, items: int, seed: int, levels: int, truths: list[int]
) -> None:
    scores = scores_of(seed, 4, items, levels, 0.3, dtype)
    scores[3] = -np.inf
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(4), truths)
    column = rng.permutation(items)[: len(row)]  # some of them hidden, some level with one another
    row = rng.permutation(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SORTING", 25)
        placed = place(scores, row, column, np.full(4, 31))
    shown = scores[row, column] > -np.inf
    own = scores[row, column][shown, None]
    np.testing.assert_array_equal(placed.row, row[shown])
    np.testing.assert_array_equal(placed.above, (scores[row[shown]] > own).sum(axis=1))
    np.testing.assert_array_equal(placed.tied, (scores[row[shown]] == own).sum(axis=1))
    together = (row[shown] == row[shown][:, None]) & (own[:, 0] == own)
    np.testing.assert_array_equal(placed.tied_truth, together.sum(axis=1))


@pytest.mark.parametrize("at", [0, 299, 300, 999])
@pytest.mark.parametrize("k", [0, 3, 1000])
def test_a_score_that_is_no_number_is_refused_wherever_it_stands(at: int, k: int) -> None:
    scores = np.linspace(1.0, 0.0, 1000)[None].repeat(2, axis=0)
    scores[1, at] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        top_columns(scores, k)


def test_scores_need_not_lie_in_one_piece() -> None:
    scores = np.arange(24.0).reshape(4, 6).T
    assert top_columns(scores, 2).tolist() == [[3, 2]] * 6
    placed = place(np.broadcast_to(np.array([3.0, 1.0, 3.0]), (2, 3)), np.array([1, 0]), np.array([1, 2]), np.array([1, 1]))
    assert (placed.above.tolist(), placed.tied.tolist()) == ([2, 0], [1, 2])
