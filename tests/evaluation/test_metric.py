"""Every built-in metric of predictions satisfies the suite, and a shop's own joins them or is refused in a sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cartwheel.core.errors import ConfigError
from cartwheel.testing.metric import MetricConformance
from evaluation.metric import METRICS, Metric, Outcome, metrics_of
from workflows.tasks.task import Answer

BOTH = frozenset(Answer)
BIAS = Metric("bias", "Bias", "Mean of prediction less truth.", "lower", BOTH, rows=lambda o: np.abs(o.predicted - o.truth))


@pytest.mark.parametrize("name", METRICS)
class TestBuiltIn(MetricConformance):
    @pytest.fixture(autouse=True)
    def of_name(self, name: str) -> None:
        self.metric = METRICS[name]  # type: ignore[misc]


class TestOwn(MetricConformance):
    metric = BIAS


def test_metrics_follow_the_kind_of_answer() -> None:
    assert [metric.name for metric in metrics_of(Answer.PROBABILITY, (BIAS,))] == [
        "log_loss", "roc_auc", "pr_auc", "brier", "ece", "bias",
    ]  # fmt: skip
    assert [metric.name for metric in metrics_of(Answer.QUANTITY)] == ["mae", "rmse", "wape", "poisson_deviance"]


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match="metric called 'mae' already"):
        metrics_of(Answer.QUANTITY, (Metric("mae", "", "", "lower", BOTH, whole=lambda o: 0.0),))


def test_a_metric_of_another_answer_is_refused() -> None:
    wanted = Metric("lift", "Lift", "", "higher", frozenset({Answer.PROBABILITY}), whole=lambda o: 1.0)
    with pytest.raises(ConfigError, match="judges a probability, and the task answers with a quantity"):
        metrics_of(Answer.QUANTITY, (wanted,))


def test_a_metric_without_a_way_to_compute_it_is_refused() -> None:
    with pytest.raises(ValueError, match="neither rows nor whole"):
        Metric("empty", "", "", "lower", BOTH)


def test_one_class_only_has_no_area() -> None:
    assert math.isnan(METRICS["roc_auc"].value(Outcome(np.array([0.2, 0.8]), np.ones(2))))
