"""Areas, losses and calibration equal those of scikit-learn or of a plain reading of their formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from models.metrics.classification import (
    Thresholds,
    calibration_columns,
    expected_calibration_error,
    log_loss,
    pr_auc,
    roc_auc,
)


@given(st.integers(0, 10_000), st.integers(2, 40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_areas_and_loss_are_those_of_scikit_learn(seed: int, rows: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, rows)
    label[:2] = 0, 1
    score = generator.integers(1, 5, rows) / 6 if ties else generator.random(rows)
    weight = generator.integers(0, 4, rows).astype(float)
    weight[:2] = 1.0
    assert roc_auc(label, score) == pytest.approx(roc_auc_score(label, score))
    assert roc_auc(label, score, weight) == pytest.approx(roc_auc_score(label, score, sample_weight=weight))
    assert pr_auc(label, score) == pytest.approx(average_precision_score(label, score))
    assert pr_auc(label, score, weight) == pytest.approx(average_precision_score(label, score, sample_weight=weight))
    assert log_loss(label, score) == pytest.approx(sklearn_log_loss(label, score))


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_calibration_error_follows_its_formula(seed: int) -> None:
    generator = np.random.default_rng(seed)
    label, probability = generator.integers(0, 2, 50), generator.random(50)
    bins = np.digitize(probability, np.arange(1, 15) / 15)
    expected = sum(
        np.mean(bins == b) * abs(label[bins == b].mean() - probability[bins == b].mean()) for b in range(15) if (bins == b).any()
    )
    assert expected_calibration_error(label, probability) == pytest.approx(expected)


def test_certain_predictions_fall_in_the_last_bin() -> None:
    assert calibration_columns(np.array([0]), np.array([1.0]))[0, -1] == -1.0


def test_one_class_has_no_area() -> None:
    curve = Thresholds(np.array([0, 0]), np.array([0.2, 0.3]))
    assert np.isnan(curve.areas()).all()
    assert Thresholds(np.array([1, 1]), np.array([0.2, 0.3])).areas()[1] == 1.0
    assert np.isnan(log_loss(np.array([], int), np.array([])))
    assert np.isnan(expected_calibration_error(np.array([], int), np.array([])))


def test_nan_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        roc_auc(np.array([0, 1]), np.array([np.nan, 1.0]))
