"""What every metric must satisfy.

Inherit it in a test file and name the metric::

    class TestLift(MetricConformance):
        metric = LIFT
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np

from evaluation.metric import Metric, Outcome
from workflows.tasks.task import Answer

ROWS = 400
SERIES = 40


class MetricConformance:
    """The suite; a subclass names the metric."""

    metric: ClassVar[Metric]

    def outcome(self, answer: Answer, seed: int = 0, rows: int = ROWS) -> Outcome:
        """Return predictions that tell something of the truth."""
        rng = np.random.default_rng(seed)
        series = rng.integers(0, SERIES, rows)
        about = series, 1.0 + series.astype(np.float64)
        if answer is Answer.PROBABILITY:
            predicted = rng.beta(1.0, 2.0, rows)
            return Outcome(predicted, (rng.random(rows) < predicted).astype(np.float64), *about)
        predicted = rng.gamma(2.0, 2.0, rows)
        return Outcome(predicted, rng.poisson(predicted).astype(np.float64), *about)

    def test_it_is_a_finite_number(self) -> None:
        """Predictions that tell something have a metric."""
        for answer in self.metric.answers:
            assert math.isfinite(self.metric.value(self.outcome(answer)))

    def test_the_order_of_rows_does_not_matter(self) -> None:
        """Rows are exchangeable."""
        for answer in self.metric.answers:
            outcome = self.outcome(answer)
            shuffled = outcome.take(np.random.default_rng(1).permutation(len(outcome)))
            assert math.isclose(self.metric.value(outcome), self.metric.value(shuffled), rel_tol=1e-9, abs_tol=1e-12)

    def test_the_mean_of_its_rows_is_the_metric(self) -> None:
        """A metric that has a value a row is the mean of those values."""
        if self.metric.rows is None:
            return
        for answer in self.metric.answers:
            outcome = self.outcome(answer)
            rows = self.metric.rows(outcome)
            assert rows.shape == outcome.truth.shape
            assert math.isclose(float(rows.mean()), self.metric.value(outcome), rel_tol=1e-9, abs_tol=1e-12)

    def test_the_truth_is_at_least_as_good_as_a_shuffled_prediction(self) -> None:
        """The direction that is called better is the better one."""
        sign = 1.0 if self.metric.better == "higher" else -1.0
        for answer in self.metric.answers:
            outcome = self.outcome(answer)
            perfect = replace(outcome, predicted=outcome.truth)
            shuffled = replace(outcome, predicted=np.random.default_rng(2).permutation(outcome.truth))
            assert sign * self.metric.value(perfect) >= sign * self.metric.value(shuffled)

    def test_no_rows_have_no_metric(self) -> None:
        """Nothing to judge is NaN, not an error and not a number."""
        nothing = np.zeros(0)
        assert math.isnan(self.metric.value(Outcome(nothing, nothing)))
