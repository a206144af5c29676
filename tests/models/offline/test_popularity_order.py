"""Ties that popularity breaks: the lexicographic order, whatever the scores are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import few

from models.families.popularity_order import PopularityOrder

TINY = float(np.finfo(np.float64).tiny)
ONE_UP, ONE_DOWN = float(np.nextafter(1.0, 2.0)), float(np.nextafter(1.0, 0.0))
SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, ONE_UP, ONE_DOWN, -1.0, -ONE_UP, TINY, -TINY, 2 * TINY, 0.3, 0.1 + 0.2, 1e300, -1e300]),
    st.floats(-5, 5, width=32, allow_subnormal=False),
)


@few
@given(st.lists(st.lists(st.tuples(SCORES, st.integers(0, 4)), min_size=1, max_size=40), min_size=1, max_size=1))
def test_it_is_the_order_of_score_and_then_popularity(lists: list[list[tuple[float, int]]]) -> None:
    (pairs,) = lists
    scores, counts = np.array([score for score, _ in pairs]), np.array([float(count) for _, count in pairs])
    found = PopularityOrder.of_counts(counts).break_ties(scores[None])[0]
    lead = np.sign(scores[:, None] - scores)
    np.testing.assert_array_equal(np.sign(found[:, None] - found), np.where(lead == 0, np.sign(counts[:, None] - counts), lead))
    np.testing.assert_allclose(found, scores, rtol=1e-13, atol=1e-300)


def test_scores_one_unit_apart_make_way_for_the_ties_between_them() -> None:
    """Three popularities tie at 1 and no number is left below the next score, so that one moves up."""
    scores = np.array([[1.0, 1.0, 1.0, ONE_UP, ONE_DOWN]])
    found = PopularityOrder.of_counts(np.array([5.0, 7.0, 6.0, 0.0, 9.0])).break_ties(scores)[0]
    assert np.argsort(found).tolist() == [4, 0, 2, 1, 3]
    assert (found[4], found[0]) == (ONE_DOWN, 1.0)


def test_equal_scores_of_equal_popularity_stay_tied_and_what_nothing_ties_stays_as_it_is() -> None:
    order = PopularityOrder.of_counts(np.array([2.0, 2.0, 1.0, 1.0]))
    np.testing.assert_array_equal(order.break_ties(np.array([[0.5, 0.5, 0.25, -4.0]])), [[0.5, 0.5, 0.25, -4.0]])


@pytest.mark.parametrize("items", [47, 48, 49, 400, 5000])
@pytest.mark.parametrize("kind", ["spread", "close", "float32", "float32 with ties", "few", "one far out", "mostly none"])
def test_long_lists_are_ordered_as_numpy_orders_them(items: int, kind: str) -> None:
    generator = np.random.default_rng(items)
    drawn = generator.normal(size=items) * 10.0 ** generator.integers(-9, 9, items)
    scores = {
        "spread": drawn,
        "close": 1.0 + generator.integers(0, 2 * items, items) * np.finfo(np.float64).eps,
        "float32": drawn.astype(np.float32).astype(np.float64),
        "float32 with ties": np.where(generator.random(items) < 0.3, drawn[:1], drawn).astype(np.float32).astype(np.float64),
        "few": generator.integers(-3, 4, items) / 7.0,
        "one far out": np.where(np.arange(items) == 5, 1e300, 1.0 + generator.integers(0, 2 * items, items) * 2.0**-52),
        "mostly none": np.where(generator.random(items) < 0.1, np.abs(drawn), 0.0),
    }[kind]
    counts = generator.integers(0, 9, items).astype(float)
    found = PopularityOrder.of_counts(counts).break_ties(scores[None])[0]
    order = np.lexsort((counts, scores))
    pairs = np.stack([scores, counts])[:, order]
    different = (np.diff(pairs, axis=1) != 0).any(axis=0)
    np.testing.assert_array_equal(np.diff(found[order]) > 0, different)
    np.testing.assert_array_equal(np.diff(found[order]) == 0, ~different)
    np.testing.assert_allclose(found, scores, rtol=1e-11, atol=1e-300)


def test_scores_may_be_written_over_and_then_come_out_the_same() -> None:
    order = PopularityOrder.of_counts(np.array([3.0, 1.0, 2.0]))
    for scores in (np.array([[0.0, 0.5, 0.5]]), np.array([[0.0, 0.5, 0.5]], np.float32), np.array([[0.0], [0.5], [0.5]]).T):
        np.testing.assert_array_equal(order.break_ties(scores.copy(), overwrite=True), order.break_ties(scores))
    own = np.array([[0.5, 0.5, 0.5]])
    assert order.break_ties(own, overwrite=True) is own


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_list_is_for_itself_and_the_scores_given_stay(dtype: type) -> None:
    generator = np.random.default_rng(0)
    scores = (generator.integers(-2, 3, (6, 30)) / 3).astype(dtype)
    before = scores.copy()
    order = PopularityOrder.of_counts(generator.integers(0, 5, 30).astype(float))
    together = order.break_ties(scores)
    assert together.dtype == np.float64
    np.testing.assert_array_equal(scores, before)
    for row, alone in zip(scores, together, strict=True):
        np.testing.assert_array_equal(order.break_ties(row[None])[0], alone)


def test_the_numbers_that_break_ties_at_zero_are_normal_ones() -> None:
    """A processor that flushes subnormal numbers would tie them again."""
    found = PopularityOrder.of_counts(np.arange(5.0)).break_ties(np.zeros((1, 5)))[0]
    assert found[0] == 0.0
    assert (found[1:] >= TINY).all()
    assert (np.diff(found) > 0).all()


def test_no_lists_have_no_ties() -> None:
    assert PopularityOrder.of_counts(np.ones(4)).break_ties(np.zeros((0, 4))).shape == (0, 4)
