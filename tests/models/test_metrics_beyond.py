"""Metrics beside recall and NDCG: against scikit-learn, trec_eval, scikit-uplift and SciPy."""

import itertools
import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    mean_absolute_error,
    mean_pinball_loss,
    mean_squared_error,
    precision_score,
    recall_score,
)
from sklearn.metrics import auc as area
from sklift import metrics as sklift

from models.metrics.beyond_accuracy import average_popularity, gini, intra_list_diversity, novelty, serendipity
from models.metrics.decisions import cost_optimal_threshold, decide, f1_optimal_threshold, row_brier
from models.metrics.quantities import mae, pinball, rmse, wape
from models.metrics.ranking import average_precision, place, precision
from models.metrics.significance import bootstrap_p_value, holm, permutation_p_values
from models.metrics.targeting import auuc, qini, qini_curve, uplift_curve


def test_precision_and_map_are_those_of_trec_eval() -> None:
    generator = np.random.default_rng(1)
    scores, relevant = generator.normal(size=(20, 30)), generator.random((20, 30)) < 0.2
    relevant[:, 0] = True
    judged = {str(row): {str(item): 1 for item in np.flatnonzero(hits)} for row, hits in enumerate(relevant)}
    ranked = {str(row): {str(item): float(score) for item, score in enumerate(own)} for row, own in enumerate(scores)}
    theirs = pytrec_eval.RelevanceEvaluator(judged, {"map", "P.5"}).evaluate(ranked)
    row, column = np.nonzero(relevant)
    placement = place(scores, row, column, relevant.sum(axis=1))
    assert precision(placement, 5) == pytest.approx([theirs[str(number)]["P_5"] for number in range(20)])
    assert average_precision(placement, 30) == pytest.approx([theirs[str(number)]["map"] for number in range(20)])


def test_short_and_empty_lists_are_averaged_over_what_they_show() -> None:
    top = np.array([[0, 1, -1], [-1, -1, -1], [2, -1, -1]])
    assert novelty(top, np.array([6, 2, 0]), k=3) == pytest.approx([(math.log2(8 / 6) + 2) / 2, math.nan, 3.0], nan_ok=True)
    assert average_popularity(top, np.array([8, 2, 0]), k=3) == pytest.approx([5.0, math.nan, 0.0], nan_ok=True)
    assert intra_list_diversity(top, np.array([1, 1, 0]), k=3) == pytest.approx([0.0, math.nan, math.nan], nan_ok=True)
    assert serendipity(top, np.array([[0], [0], [0]]), np.array([0, 0, 1]), np.array([0, 1, 2]), 3, k=3) == pytest.approx(
        [1 / 3, 0.0, 0.0]
    )


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_diversity_counts_pairs(seed: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    category = generator.integers(0, 3, 8)
    top = np.array([generator.permutation(8)[:5] for _ in range(4)])
    top[0, 2:] = -1
    for row, value in zip(top, intra_list_diversity(top, category, k), strict=True):
        pairs = list(itertools.combinations([item for item in row[:k] if item >= 0], 2))
        differ = [category[one] == 0 or category[one] != category[other] for one, other in pairs]
        assert value == pytest.approx(np.mean(differ) if pairs else math.nan, nan_ok=True)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_gini_is_half_the_relative_mean_difference(shown: list[int]) -> None:
    exposure = np.bincount(shown, minlength=10)
    differences = np.abs(exposure[:, None] - exposure[None, :]).mean()
    assert gini(np.array(shown)[:, None], items=10, k=1) == pytest.approx(differences / (2 * exposure.mean()))


def test_nothing_shown_has_no_gini() -> None:
    assert math.isnan(gini(np.array([[-1]]), items=3, k=1))


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_decisions_are_those_of_scikit_learn(seed: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)
    label, chance = generator.integers(0, 2, 20), generator.integers(0, 11, 20) / 10
    said, found = chance >= threshold, decide(label, chance, threshold)
    assert found.accuracy == pytest.approx(accuracy_score(label, said))
    if said.any():
        assert found.precision == pytest.approx(precision_score(label, said))
    if label.any():
        assert found.recall == pytest.approx(recall_score(label, said))
    if said.any() or label.any():
        assert found.f1 == pytest.approx(f1_score(label, said))
    weighted = decide(label, chance, threshold, np.full(20, 3.0))
    assert weighted.f1 == pytest.approx(found.f1, nan_ok=True)
    assert row_brier(label, chance).mean() == pytest.approx(brier_score_loss(label, chance))


def test_a_decision_that_never_says_yes_has_no_precision() -> None:
    found = decide(np.array([0, 0]), np.array([0.1, 0.2]), 0.5)
    assert found.accuracy == 1.0
    assert math.isnan(found.precision)
    assert math.isnan(found.recall)
    assert math.isnan(found.f1)


@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
@settings(max_examples=40, deadline=None)
def test_no_threshold_costs_less_than_the_optimal(seed: int, cost: float) -> None:
    generator = np.random.default_rng(seed)
    label, chance = generator.integers(0, 2, 15), generator.integers(0, 6, 15) / 5

    def costs(threshold: float) -> float:
        found = decide(label, chance, threshold)
        return found.false_positive + cost * found.false_negative

    best = cost_optimal_threshold(label, chance, 1.0, cost)
    assert costs(best) == pytest.approx(min(costs(each) for each in [*np.unique(chance), math.inf]))


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_no_threshold_has_a_higher_f1_than_the_optimal(seed: int) -> None:
    generator = np.random.default_rng(seed)
    label, chance = generator.integers(0, 2, 15), generator.integers(0, 6, 15) / 5
    label[0] = 1
    best, candidates = f1_optimal_threshold(label, chance), np.unique(chance)
    scores = np.array([f1_score(label, chance >= each) for each in candidates])
    assert best == candidates[np.flatnonzero(scores >= scores.max() - 1e-12)[-1]]


def test_quantities_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    actual, predicted = generator.poisson(3.0, 50).astype(float), generator.normal(3.0, 1.0, 50)
    assert rmse(actual, predicted) == pytest.approx(mean_squared_error(actual, predicted) ** 0.5)
    assert mae(actual, predicted) == pytest.approx(mean_absolute_error(actual, predicted))
    assert pinball(actual, predicted, 0.9) == pytest.approx(mean_pinball_loss(actual, predicted, alpha=0.9))
    assert wape(actual, predicted) == pytest.approx(mae(actual, predicted) / actual.mean())
    nothing = np.zeros(0)
    assert all(math.isnan(metric(nothing, nothing)) for metric in (rmse, mae, wape))
    assert math.isnan(pinball(nothing, nothing, 0.5))
    assert math.isnan(wape(np.zeros(2), np.ones(2)))
    with pytest.raises(ValueError, match=r"quantile is 1\.0"):
        pinball(actual, predicted, 1.0)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_curves_of_targeting_are_those_of_scikit_uplift(seed: int) -> None:
    generator = np.random.default_rng(seed)
    outcome, treated = generator.integers(0, 2, 40), generator.integers(0, 2, 40)
    treated[:2] = 0, 1
    score = generator.integers(0, 5, 40) / 5
    for ours, theirs in ((uplift_curve, sklift.uplift_curve), (qini_curve, sklift.qini_curve)):
        number, gain = ours(outcome, treated, score)
        expected_number, expected_gain = theirs(outcome, score, treated)
        np.testing.assert_allclose(number, expected_number)
        np.testing.assert_allclose(gain, expected_gain, atol=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_areas_of_targeting_are_those_of_scikit_uplift_up_to_what_it_divides_by(seed: int) -> None:
    generator = np.random.default_rng(seed)
    outcome, treated = generator.integers(0, 2, 40), generator.integers(0, 2, 40)
    treated[:2] = 0, 1
    score, constant = generator.integers(0, 5, 40) / 5, np.zeros(40)
    effect = auuc(outcome, treated, constant)
    perfect = area(*sklift.perfect_uplift_curve(outcome, treated)) / 40**2 - effect
    assert auuc(outcome, treated, score) - effect == pytest.approx(
        sklift.uplift_auc_score(outcome, score, treated) * perfect, abs=1e-12
    )
    number, gain = sklift.perfect_qini_curve(outcome, treated)
    perfect = (area(number, gain) - number[-1] * gain[-1] / 2) / 40**2
    assert qini(outcome, treated, score) == pytest.approx(sklift.qini_auc_score(outcome, score, treated) * perfect, abs=1e-12)


def test_targeting_is_chance_for_a_constant_score_and_undefined_with_one_arm() -> None:
    generator = np.random.default_rng(4)
    outcome, treated = generator.integers(0, 2, 200), generator.integers(0, 2, 200)
    assert qini(outcome, treated, np.zeros(200)) == 0.0
    effect = outcome[treated == 1].mean() - outcome[treated == 0].mean()
    assert auuc(outcome, treated, np.zeros(200)) == pytest.approx(effect / 2)
    persuadable = generator.random(4000) < 0.3
    arm = generator.integers(0, 2, 4000)
    moved = (persuadable & (arm == 1)).astype(np.int64)
    assert qini(moved, arm, persuadable.astype(float)) > 0.04
    assert qini(moved, arm, -persuadable.astype(float)) < -0.04
    assert math.isnan(qini(outcome, np.ones(200, np.int64), outcome))
    assert math.isnan(auuc(outcome, np.zeros(200, np.int64), outcome))


def test_the_permutation_test_is_that_of_scipy() -> None:
    generator = np.random.default_rng(5)
    difference = generator.normal(0.3, 1.0, 11)
    exact = permutation_test((difference,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided")
    found = permutation_p_values(np.stack([difference, np.zeros(11)], axis=1), np.arange(11), seed=0)
    assert found == pytest.approx([exact.pvalue, 1.0], abs=0.03)


def test_rows_of_one_user_flip_together() -> None:
    users = np.repeat(np.arange(4), 50)
    assert permutation_p_values(np.ones((200, 1)), users, seed=0) == pytest.approx([2 / 16], abs=0.03)
    once, again = (permutation_p_values(np.arange(9.0)[:, None] - 2, np.arange(9), seed=7) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_the_bootstrap_value_follows_its_interval() -> None:
    generator = np.random.default_rng(6)
    for shift in (-4.0, -1.9, 0.0, 1.9, 4.0):
        draws = generator.normal(shift, 1.0, 999)
        low, high = np.quantile(draws, [0.025, 0.975])
        value = bootstrap_p_value(draws)
        assert value is not None
        assert (value < 0.05) == (low > 0 or high < 0)
    assert bootstrap_p_value(np.array([np.nan])) is None


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.floats(0.001, 0.5))
@settings(max_examples=60, deadline=None)
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float], level: float) -> None:
    corrected = holm(p_values)
    rejecting = True
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        bound = level / (len(p_values) - rank)
        rejecting = rejecting and p_values[index] <= bound
        if not math.isclose(p_values[index], bound):
            assert (corrected[index] <= level) == rejecting or math.isclose(corrected[index], level)
