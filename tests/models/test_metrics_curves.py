"""The curves agree with the figures that they picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.metrics.classification import expected_calibration_error, roc_auc
from models.metrics.curves import reliability, roc_points
from models.metrics.intervals import UserBootstrap

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=2, max_size=30).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@given(ROWS)
def test_the_area_under_the_points_is_the_roc_auc(rows: list[tuple[int, int]]) -> None:
    label, score = np.array(rows).T
    false, true = roc_points(label, score.astype(float))
    area = np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2)
    assert area == pytest.approx(roc_auc(label, score.astype(float)))
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_one_class_has_no_rate() -> None:
    false, true = roc_points(np.array([1, 1]), np.array([0.2, 0.4]))
    assert np.isnan(false).all()
    assert true.tolist() == [0.0, 0.5, 1.0]


def test_the_gaps_of_the_bins_are_the_calibration_error() -> None:
    generator = np.random.default_rng(2)
    probability = generator.random(500) * 0.7
    label = (generator.random(500) < probability**2).astype(np.int64)
    bins = reliability(label, probability, UserBootstrap(np.arange(500) % 50, 200, 0))
    error = np.sum(np.abs(bins.seen - bins.said) * bins.rows) / 500
    assert error == pytest.approx(expected_calibration_error(label, probability))
    assert bins.rows.sum() == 500
    assert (bins.low <= bins.seen).all()
    assert (bins.seen <= bins.high).all()


def test_one_user_gives_no_interval() -> None:
    bins = reliability(np.array([0, 1]), np.array([0.1, 0.1]), UserBootstrap(np.zeros(2), 100, 0))
    assert (bins.said, bins.seen) == (pytest.approx([0.1]), pytest.approx([0.5]))
    assert np.isnan(bins.low).all()
