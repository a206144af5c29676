"""Ranking metrics equal their averages over every order of the tied items, and those of scikit-learn where nothing ties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from models.metrics.ranking import (
    Placement,
    average_precision,
    coverage,
    hit_rate,
    ndcg,
    place,
    precision,
    recall,
    reciprocal_rank,
    top_columns,
)


def by_brute_force(scores: list[int], truth: set[int], missing: int, k: int) -> tuple[float, ...]:
    """Average every metric over all orders that agree with the scores; reciprocal rank of all places and of k."""
    totals, orders = np.zeros(7), 0
    n = len(truth) + missing
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(n, k) + 1))
    for order in itertools.permutations(range(len(scores))):
        if any(scores[left] < scores[right] for left, right in itertools.pairwise(order)):
            continue
        ranks = [rank for rank, item in enumerate(order, 1) if item in truth]
        inside = [rank for rank in ranks if rank <= k]
        gain = sum(1 / math.log2(rank + 1) for rank in inside)
        first, first_inside = (1 / min(found) if found else 0.0 for found in (ranks, inside))
        precisions = [count / rank for count, rank in enumerate(inside, 1)]
        told = [len(inside) / n, gain / ideal, float(bool(inside)), first, first_inside]
        totals += [*told, len(inside) / k, sum(precisions) / min(n, k)]
        orders += 1
    return tuple(totals / orders)


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[int], set[int], int, int]:
    scores = draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))
    truth = draw(st.sets(st.integers(0, len(scores) - 1)))
    missing = draw(st.integers(0 if truth else 1, 2))
    return scores, truth, missing, draw(st.integers(1, 7))


@given(lists())
@settings(max_examples=60, deadline=None)
def test_every_metric_is_the_average_over_all_orders(case: tuple[list[int], set[int], int, int]) -> None:
    scores, truth, missing, k = case
    columns = np.array(sorted(truth), np.int64)
    placement = place(np.array([scores], float), np.zeros(len(truth), np.int64), columns, np.array([len(truth) + missing]))
    found = [metric(placement, k)[0] for metric in (recall, ndcg, hit_rate)]
    found += [reciprocal_rank(placement, last)[0] for last in (None, k)]
    found += [metric(placement, k)[0] for metric in (precision, average_precision)]
    np.testing.assert_allclose(found, by_brute_force(scores, truth, missing, k), atol=1e-12)


def test_ndcg_of_a_full_list_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    scores, relevant = generator.normal(size=(20, 30)), generator.random((20, 30)) < 0.2
    relevant[:, 0] = True
    row, column = np.nonzero(relevant)
    placement = place(scores, row, column, relevant.sum(axis=1))
    assert ndcg(placement, 10).mean() == pytest.approx(ndcg_score(relevant, scores, k=10))


def test_a_constant_scorer_gets_chance() -> None:
    row, column = np.arange(50), np.arange(50)
    placement = place(np.zeros((50, 200)), row, column, np.ones(50, np.int64))
    np.testing.assert_allclose(recall(placement, 10), 10 / 200)
    np.testing.assert_allclose(hit_rate(placement, 10), 10 / 200)
    np.testing.assert_allclose(reciprocal_rank(placement), np.mean(1 / np.arange(1, 201)))


def test_what_must_not_be_recommended_is_missed_and_pushes_nobody_down() -> None:
    scores = np.array([[-np.inf, 0.5, -np.inf]])
    placement = place(scores, np.array([0, 0]), np.array([0, 1]), np.array([2]))
    assert recall(placement, 3)[0] == 0.5
    assert reciprocal_rank(placement)[0] == 1.0


def test_lists_without_any_truth_item_among_the_candidates_score_zero() -> None:
    none = np.zeros(0, np.int64)
    placement = place(np.zeros((2, 3)), none, none, np.array([1, 2]))
    for metric in (recall, ndcg, hit_rate):
        np.testing.assert_array_equal(metric(placement, 2), [0.0, 0.0])
    np.testing.assert_array_equal(reciprocal_rank(placement), [0.0, 0.0])


def test_joined_chunks_are_the_whole() -> None:
    generator = np.random.default_rng(2)
    scores = generator.integers(0, 4, size=(6, 9)).astype(float)
    row, column = np.nonzero(generator.random((6, 9)) < 0.4)
    n_truth = np.maximum(np.bincount(row, minlength=6), 1)
    late = row >= 2
    joined = Placement.join(
        [place(scores[:2], row[~late], column[~late], n_truth[:2]), place(scores[2:], row[late] - 2, column[late], n_truth[2:])]
    )
    np.testing.assert_array_equal(recall(joined, 3), recall(place(scores, row, column, n_truth), 3))
    np.testing.assert_array_equal(reciprocal_rank(joined), reciprocal_rank(place(scores, row, column, n_truth)))
    assert len(Placement.join([]).n_truth) == 0


@given(st.integers(1, 8), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_the_top_is_the_head_of_a_stable_sort(k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 3, size=(4, 6)).astype(float)
    scores[generator.random((4, 6)) < 0.3] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")
    expected[np.take_along_axis(scores, expected, axis=1) == -np.inf] = -1
    np.testing.assert_array_equal(top_columns(scores, k), expected[:, :k])


@pytest.mark.parametrize("items", [300, 1_000, 4_096])
@pytest.mark.parametrize("levels", [2, 40, 1_000_000])
def test_the_top_of_long_lists_is_found_by_blocks(items: int, levels: int) -> None:
    generator = np.random.default_rng(items + levels)
    scores = generator.integers(0, levels, size=(30, items)).astype(np.float32)
    scores[generator.random(scores.shape) < 0.3] = -np.inf
    scores[:4, 2:] = -np.inf
    scores[4:8, : items - 1] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")
    expected[np.take_along_axis(scores, expected, axis=1) == -np.inf] = -1
    for k in (1, 3):
        np.testing.assert_array_equal(top_columns(scores, k), expected[:, :k])


@pytest.mark.parametrize("truths", [1, 20, 300])
def test_many_truth_items_are_placed_as_few_are(truths: int) -> None:
    generator = np.random.default_rng(truths)
    scores = generator.integers(0, 50, size=(3, 1_000)).astype(np.float32)
    column = np.concatenate([generator.choice(1_000, truths, replace=False) for _ in range(3)])
    row = np.repeat(np.arange(3), truths)
    order = generator.permutation(len(row))
    placement = place(scores, row[order], column[order], np.full(3, truths))
    own = scores[row, column][order, None]
    np.testing.assert_array_equal(placement.above, (scores[row[order]] > own).sum(axis=1))
    np.testing.assert_array_equal(placement.tied, (scores[row[order]] == own).sum(axis=1))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [30, 1_000_000])
def test_high_truth_items_of_long_lists_are_placed_as_all_are(kind: type, levels: int) -> None:
    generator = np.random.default_rng(levels)
    scores = generator.integers(-levels, levels, size=(4, 40_000)).astype(kind)
    scores[0, 7] = scores[0].max()
    scores[1] = -0.0
    scores[1, ::9] = 0.0
    scores[2, 5_000:] = -np.inf
    scores = np.asfortranarray(scores)
    column = np.argsort(-scores, axis=1, kind="stable")[:, [0, 3, 40, 800, 4_000]]
    placement = place(scores, np.repeat(np.arange(4), 5), column.ravel(), np.full(4, 5))
    own = scores[placement.row, column.ravel()][:, None]
    np.testing.assert_array_equal(placement.above, (scores[placement.row] > own).sum(axis=1))
    np.testing.assert_array_equal(placement.tied, (scores[placement.row] == own).sum(axis=1))


def test_coverage_ignores_the_padding_of_short_lists() -> None:
    assert coverage(np.array([[2, -1], [-1, -1]]), items=4, k=2) == 0.25


def test_nan_scores_and_empty_truths_are_refused() -> None:
    one = np.array([0])
    with pytest.raises(ValueError, match="NaN"):
        place(np.array([[np.nan]]), one, one, np.array([1]))
    spoilt = np.zeros((2, 1_001))
    for column in (0, 500, 1_000):
        with pytest.raises(ValueError, match="NaN"):
            top_columns(np.where(np.arange(1_001) == column, np.nan, spoilt), 1)
    with pytest.raises(ValueError, match="NaN"):
        top_columns(np.array([[np.nan, 1.0]]), 1)
    with pytest.raises(ValueError, match="no truth item"):
        place(np.array([[1.0]]), one[:0], one[:0], np.array([0]))
