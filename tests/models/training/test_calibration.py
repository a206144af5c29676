from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics.classification import expected_calibration_error
from models.training.calibration import (
    HEAD_FEATURES,
    CartHead,
    Platt,
    fit_logistic,
    fit_platt,
    head_features,
    sigmoid,
    smoothed,
    too_few,
)


def _draw(slope: float, intercept: float, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, rows)
    return logit, (rng.random(rows) < sigmoid(slope * logit + intercept)).astype(int)


def test_platt_finds_the_planted_slope_and_lowers_the_error() -> None:
    logit, label = _draw(0.5, -1.0, 20_000)
    platt = fit_platt(logit, label)
    assert platt.slope == pytest.approx(0.5, abs=0.03)
    assert platt.intercept == pytest.approx(-1.0, abs=0.05)
    assert platt.note == ""
    before, after = (expected_calibration_error(label, chance) for chance in (sigmoid(logit), platt.probability(logit)))
    assert after < 0.2 * before


@pytest.mark.parametrize("label", [np.ones(500, int), np.zeros(500, int), np.r_[np.ones(3, int), np.zeros(497, int)]])
def test_one_class_keeps_the_logit_and_says_so(label: np.ndarray) -> None:
    platt = fit_platt(np.linspace(-3, 3, 500), label)
    assert (platt.slope, platt.intercept) == (1.0, 0.0)
    assert "of 500 validation rows" in platt.note


def test_tiny_validation_keeps_the_logit_and_says_so() -> None:
    assert "19 validation rows" in fit_platt(np.zeros(19), np.arange(19) % 2).note


def test_twenty_rows_and_perfect_separation_stay_finite() -> None:
    logit = np.r_[np.full(10, -30.0), np.full(10, 30.0)]
    platt = fit_platt(logit, (logit > 0).astype(int))
    assert np.isfinite([platt.slope, platt.intercept]).all()
    assert platt.slope > 0


def test_calibration_never_turns_an_order_round() -> None:
    logit, label = _draw(-1.0, 0.5, 5_000)
    platt = fit_platt(logit, label)
    assert platt.slope == 1.0
    assert "only the intercept" in platt.note
    assert platt.probability(logit).mean() == pytest.approx(label.mean(), abs=0.02)


def test_head_features_sum_up_the_lines_of_each_cart_in_the_order_of_the_carts() -> None:
    features, first = head_features(["b", "a", "b", "b"], np.array([1.0, -2.0, 3.0, 2.0]))
    np.testing.assert_allclose(features, [[3.0, 2.0, np.log(4)], [-2.0, -2.0, np.log(2)]])
    assert first.tolist() == [0, 1]


def test_a_cart_is_as_likely_as_its_likeliest_line_at_least_and_n_times_that_at_most() -> None:
    head, lines = CartHead((1.0, 0.0, 0.0), -5.0), Platt(2.0, 1.0)
    features = np.array(
        [[3.0, 0.0, np.log1p(2)], [-9.0, -9.0, np.log1p(2)], [-9.0, -9.0, np.log1p(1)], [-9.0, -9.0, np.log1p(200)]]
    )
    np.testing.assert_allclose(head.log_odds(features, lines), [7.0, -17.0 + np.log(2), -17.0, -14.0], atol=1e-6)


def test_a_head_without_weights_is_a_base_rate_within_the_bounds_of_lines_that_have_a_slope() -> None:
    features, rate = np.array([[9.0, 9.0, np.log1p(2)], [-9.0, -9.0, np.log1p(1)]]), CartHead((0.0, 0.0, 0.0), 0.5)
    np.testing.assert_array_equal(rate.log_odds(features, Platt(0.0, 1.0)), [0.5, 0.5])
    np.testing.assert_allclose(rate.log_odds(features, Platt(2.0, 1.0)), [0.5, -17.0])


def test_the_base_rate_of_a_cart_caps_its_lines_where_they_have_a_slope() -> None:
    lines, carts = np.array([3.0, -3.0]), np.array([0.5, 0.5])
    rate, fitted = CartHead((0.0, 0.0, 0.0), 0.5), CartHead((1.0, 0.0, 0.0), 0.5)
    assert rate.capped(lines, carts, Platt(2.0, 1.0)).tolist() == [0.5, -3.0]
    assert rate.capped(lines, carts, Platt(0.0, 1.0)).tolist() == [3.0, -3.0]
    assert fitted.capped(lines, carts, Platt(2.0, 1.0)).tolist() == [3.0, -3.0]


def test_logistic_matches_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    features = rng.normal(size=(1000, 3)) * [1, 10, 0.1] + [0, 50, 0]
    label = (rng.random(1000) < sigmoid(features @ [1, 0.1, -3] - 5)).astype(int)
    weights, bias = fit_logistic(features, label)
    peer = LogisticRegression(C=1e6, max_iter=10_000, tol=1e-8).fit(features, label)
    np.testing.assert_allclose(weights, peer.coef_[0], rtol=0.02)
    assert bias == pytest.approx(peer.intercept_[0], rel=0.02)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(0, 1)), min_size=1, max_size=60))
def test_any_rows_give_probabilities(rows: Any) -> None:
    logit, label = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    platt = fit_platt(logit, label)
    probability = platt.probability(logit)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert platt.slope > 0
    assert 0 <= expected_calibration_error(label, probability) <= 1


@pytest.mark.parametrize(
    ("rows", "positives", "fits"), [(20, 5, True), (19, 5, False), (20, 4, False), (20, 16, False), (20, 15, True)]
)
def test_twenty_rows_with_five_of_each_label_are_enough(rows: int, positives: int, fits: bool) -> None:
    label = np.arange(rows) < positives
    logit = np.random.default_rng(3).normal(size=rows) + label
    assert (fit_platt(logit, label.astype(int)).note == "") == fits
    assert (too_few(label.astype(int), "rows") == "") == fits


def test_targets_are_those_of_platt() -> None:
    """(n1 + 1) / (n1 + 2) and 1 / (n0 + 2)."""
    np.testing.assert_allclose(smoothed(np.array([1, 0, 0, 1, 0])), [3 / 4, 1 / 5, 1 / 5, 3 / 4, 1 / 5])


def test_platt_is_the_logistic_regression_on_smoothed_targets() -> None:
    """At the solution the residuals sum to 0, and so do they weighted by the logit."""
    logit, label = _draw(0.7, 0.4, 300)
    platt = fit_platt(logit, label)
    residual = platt.probability(logit) - smoothed(label)
    assert residual.sum() == pytest.approx(0.0, abs=1e-6)
    assert residual @ logit == pytest.approx(0.0, abs=0.01)
    assert platt.content() == {"slope": platt.slope, "intercept": platt.intercept}


def test_where_the_order_would_turn_round_the_mean_chance_is_still_met() -> None:
    logit, label = _draw(-1.0, 0.5, 400)
    platt = fit_platt(logit, label)
    assert (platt.probability(logit) - smoothed(label)).sum() == pytest.approx(0.0, abs=1e-6)


def test_what_a_probability_is() -> None:
    np.testing.assert_allclose(Platt(2.0, -1.0).probability(np.array([0.5, 1.0], np.float32)), [0.5, 1 / (1 + np.exp(-1))])
    assert Platt(2.0, -1.0).probability(np.array([0.5], np.float32)).dtype == np.float64
    np.testing.assert_array_equal(sigmoid(np.array([-1e4, 1e4])), [0.0, 1.0])


def test_the_head_is_the_logistic_regression_of_its_features_where_no_bound_holds_it() -> None:
    head = CartHead((0.5, 0.25, -1.0), 0.125)
    features = np.array([[1.0, 0.5, np.log1p(3)]])
    assert head.log_odds(features, Platt(1.0, -1.0))[0] == pytest.approx(max(0.0, 0.5 + 0.125 - np.log(4) + 0.125))
    free = CartHead((0.5, 0.25, -0.1), 0.125)
    assert free.log_odds(features, Platt(1.0, -1.0))[0] == pytest.approx(0.5 + 0.125 - 0.1 * np.log(4) + 0.125)
    assert free.content() == {"features": list(HEAD_FEATURES), "weights": [0.5, 0.25, -0.1], "bias": 0.125}


def test_an_offset_counts_as_it_is() -> None:
    """Fitting with the truth as the offset leaves nothing to fit."""
    logit, label = _draw(1.0, 0.0, 20_000)
    weights, bias = fit_logistic(np.zeros((len(logit), 0)), label, offset=logit)
    assert weights.shape == (0,)
    assert bias == pytest.approx(0.0, abs=0.05)
    shifted = fit_logistic(np.zeros((len(logit), 0)), label, offset=logit - 2.0)[1]
    assert shifted == pytest.approx(bias + 2.0, abs=1e-6)


def test_a_column_that_never_changes_is_no_reason_to_fail() -> None:
    logit, label = _draw(1.0, -0.5, 5_000)
    weights, bias = fit_logistic(np.column_stack([logit, np.full(5_000, 3.0)]), label)
    assert weights[1] == pytest.approx(0.0, abs=1e-9)
    (slope,), intercept = fit_logistic(logit[:, None], label)
    assert (weights[0], bias) == pytest.approx((slope, intercept), abs=1e-6)


def test_a_head_that_was_not_fitted_takes_the_likeliest_line_for_the_cart() -> None:
    features = np.array([[0.5, 0.4, np.log1p(3)], [-1.0, 0.7, np.log1p(2)]])
    assert CartHead().log_odds(features, Platt()).tolist() == [0.5, -1.0]


def test_the_head_of_lines_gives_a_cart_the_probability_of_its_likeliest_line() -> None:
    lines = Platt(2.0, 1.0)
    features = np.array([[0.5, -4.0, np.log1p(3)], [-1.0, 0.7, np.log1p(2)]])
    assert CartHead.of_line(lines).log_odds(features, lines).tolist() == [2.0, -1.0]
