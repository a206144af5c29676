"""Intervals of quantities hold what they are to hold, and orders cost less than expectations."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from models.tasks.calibrate import calibrate_level
from models.tasks.spread import Spread, fit_spread, order_cost

RNG = np.random.default_rng(0)


def drawn(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Expected quantities, many of them near 0, and what came."""
    expected = RNG.gamma(0.5, 4.0, rows)
    return expected, RNG.negative_binomial(2.0, 2.0 / (2.0 + expected)).astype(np.float64)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_intervals_hold_the_share_that_is_wanted(coverage: float) -> None:
    spread = fit_spread(*drawn(8000), coverage, 1.0, 1.0)
    expected, came = drawn(8000)
    low, high, _ = spread.bounds(expected)
    assert (low >= 0).all()
    assert np.mean((low <= came) & (came <= high)) == pytest.approx(coverage, abs=0.02)
    for part in (expected < 0.5, expected > 4.0):
        assert np.mean((low <= came)[part] & (came <= high)[part]) == pytest.approx(coverage, abs=0.06)


def test_orders_at_unequal_costs_cost_less_than_having_what_is_expected() -> None:
    spread = fit_spread(*drawn(8000), 0.8, 1.0, 9.0)
    expected, came = drawn(8000)
    order = spread.bounds(expected)[2]
    assert np.mean(came <= order) == pytest.approx(0.9, abs=0.02)
    assert order_cost(came, order, 1.0, 9.0).mean() < 0.8 * order_cost(came, expected, 1.0, 9.0).mean()


def test_few_rows_and_equal_predictions_have_one_bin() -> None:
    for quantity in (np.full(5000, 2.0), np.array([1.0, 3.0])):
        spread = fit_spread(quantity, np.full(len(quantity), 2.0), 0.8, 1.0, 1.0)
        assert spread.edges == ()
        assert np.isfinite(spread.bounds(quantity)).all()
    assert Spread.from_json(json.loads(json.dumps(asdict(spread)))) == spread


def test_the_level_is_moved_where_the_total_was_wrong_and_else_left() -> None:
    expected, came = drawn(4000)
    who = np.arange(4000)
    assert calibrate_level(expected / 3.0, came, who).factor == pytest.approx(3.0, rel=0.1)
    assert calibrate_level(expected * came.sum() / expected.sum(), came, who).factor == pytest.approx(1.0, abs=0.02)
    assert calibrate_level(np.zeros(4000), came, who).factor == 1.0
