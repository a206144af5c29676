from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics.classification import log_loss
from models.tasks.calibrate import calibrate
from models.tasks.decide import NEVER, choose_threshold
from models.training.calibration import sigmoid


def drawn(slope: float, intercept: float, rows: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log odds that are off by a slope and an intercept, their labels, and entities of two rows each."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=rows)
    label = (rng.random(rows) < sigmoid(truth)).astype(np.float64)
    return (truth - intercept) / slope, label, (np.arange(rows) // 2).astype(str)


def test_overconfident_log_odds_are_calibrated_and_their_loss_falls() -> None:
    score, label, entity = drawn(0.4, -1.0)
    found = calibrate(score, label, entity)
    assert found.share == 1.0
    assert found.platt.slope == pytest.approx(0.4, abs=0.05)
    assert found.platt.intercept == pytest.approx(-1.0, abs=0.1)
    truth = label.astype(np.int64)
    assert log_loss(truth, found.held_out) < log_loss(truth, sigmoid(score)) - 0.1


def test_calibrated_log_odds_are_left_nearly_alone() -> None:
    score, label, entity = drawn(1.0, 0.0, 400)
    found = calibrate(score, label, entity)
    assert abs(found.platt.slope - 1.0) < 0.2
    assert found.share < 1.0 or log_loss(label.astype(np.int64), found.held_out) < log_loss(
        label.astype(np.int64), sigmoid(score)
    )


def test_too_few_rows_calibrate_nothing() -> None:
    score, label, entity = drawn(0.3, 1.0, 12)
    found = calibrate(score, label, entity)
    assert (found.platt.slope, found.platt.intercept, found.share) == (1.0, 0.0, 0.0)
    assert "12 validation rows" in found.platt.note


@settings(deadline=None, max_examples=20)
@given(st.floats(0.1, 5.0), st.floats(-2.0, 2.0))
def test_calibration_never_raises_the_held_out_loss_nor_turns_an_order(slope: float, intercept: float) -> None:
    score, label, entity = drawn(slope, intercept, 300)
    found = calibrate(score, label, entity)
    assert found.platt.slope > 0
    truth = label.astype(np.int64)
    assert log_loss(truth, found.held_out) <= log_loss(truth, sigmoid(score)) + 1e-12


@pytest.mark.parametrize(("false_positive", "false_negative", "expected"), [(1.0, 9.0, 0.1), (9.0, 1.0, 0.9), (1.0, 1.0, 0.5)])
def test_the_threshold_follows_the_costs(false_positive: float, false_negative: float, expected: float) -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(20_000)
    label = (rng.random(20_000) < probability).astype(np.float64)
    assert choose_threshold(label, probability, false_positive, false_negative).threshold == pytest.approx(expected, abs=0.05)


def test_where_no_is_always_cheapest_no_probability_is_a_yes() -> None:
    label, probability = np.array([0.0, 1.0, 0.0]), np.array([0.4, 0.3, 0.5])
    assert choose_threshold(label, probability, 100.0, 1.0).threshold == NEVER
    assert choose_threshold(np.zeros(3), probability, 1.0, 3.0).threshold == 0.25
    assert "one class" in choose_threshold(np.zeros(3), probability, 0.0, 0.0).rule
