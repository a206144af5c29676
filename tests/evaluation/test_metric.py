"""Every built-in metric of predictions satisfies the suite, and a shop's own joins them or is refused in a sentence."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cartwheel.core.errors import ConfigError
from cartwheel.testing.metric import MetricConformance
from evaluation.metric import METRICS, NAMED, Metric, Outcome, added_metrics, computed, metrics_of
from evaluation.report.task_tables import METRICS as JUDGED_BY
from workflows.tasks.task import DECLARED_ANSWERS, Answer

BOTH = frozenset(DECLARED_ANSWERS)
BIAS = Metric("bias", "Bias", "Mean of prediction less truth.", "lower", BOTH, rows=lambda o: np.abs(o.predicted - o.truth))


@pytest.mark.parametrize("name", [*METRICS, *NAMED])
class TestBuiltIn(MetricConformance):
    @pytest.fixture(autouse=True)
    def of_name(self, name: str) -> None:
        self.metric = {**METRICS, **NAMED}[name]  # type: ignore[misc]


class TestOwn(MetricConformance):
    metric = BIAS


def test_each_series_counts_once_in_the_rmsse_and_those_without_a_scale_do_not() -> None:
    truth, series = np.array([1.0, 3.0, 2.0, 9.0]), np.array(["a", "a", "b", "c"])
    outcome = Outcome(np.array([1.0, 1.0, 8.0, 0.0]), truth, series, np.array([2.0, 2.0, 4.0, np.nan]))
    by_hand = (np.sqrt((0.0 + 4.0) / 2 / 2.0) + np.sqrt(36.0 / 4.0)) / 2
    assert NAMED["rmsse"].value(outcome) == pytest.approx(by_hand)
    assert math.isnan(NAMED["rmsse"].value(Outcome(truth, truth)))
    assert math.isnan(NAMED["rmsse"].value(Outcome(truth, truth, series, np.full(4, np.nan))))


def test_metrics_follow_the_kind_of_answer() -> None:
    assert [metric.name for metric in metrics_of(Answer.PROBABILITY, (BIAS,))] == [
        "log_loss", "roc_auc", "pr_auc", "brier", "calibration_error", "bias",
    ]  # fmt: skip
    assert [metric.name for metric in metrics_of(Answer.QUANTITY)] == ["mae", "rmse", "wape", "poisson_deviance"]


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match="already a metric named 'mae'"):
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


def test_every_metric_that_a_task_is_judged_by_is_declared() -> None:
    assert {name for answer in DECLARED_ANSWERS for name in JUDGED_BY[answer]} == set(METRICS)


@pytest.mark.parametrize("name", ["Lift", "at 10", "lift_minus_base_rate", "lift_at_threshold", ""])
def test_a_name_that_records_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits and underscores"):
        metrics_of(Answer.QUANTITY, (Metric(name, "", "", "lower", BOTH, whole=lambda o: 0.0),))


MODULE = """
from cartwheel import Answer, Metric
BIAS = Metric("bias", "Bias", "Mean error.", "lower", frozenset(Answer), rows=lambda o: abs(o.predicted - o.truth))
def made():
    return BIAS
def broken():
    raise ValueError("no such column")
NUMBER = 3
"""


@pytest.mark.parametrize("name", ["BIAS", "made"])
def test_a_metric_is_found_by_its_reference(tmp_path: Path, name: str) -> None:
    (tmp_path / "metrics_of_a_shop.py").write_text(MODULE)
    (found,) = added_metrics([f"metrics_of_a_shop:{name}"], Answer.QUANTITY, "tasks.demand.metrics", tmp_path)
    assert found.name == "bias"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("lift", "tasks.churn.metrics: there is no metric 'lift' to add"),
        ("total_error", "'total_error' judges a quantity"),
        ("nowhere_at_all:LIFT", "no module 'nowhere_at_all'"),
        ("metrics_of_a_shop:BIOS", "did you mean 'BIAS'"),
        ("metrics_of_a_shop:broken", r"raised ValueError: no such column \(metrics_of_a_shop.py, line 7\)"),
        ("metrics_of_a_shop:NUMBER", "is a int, where a Metric is expected"),
    ],
)
def test_what_is_no_metric_is_refused_in_a_sentence(tmp_path: Path, reference: str, message: str) -> None:
    (tmp_path / "metrics_of_a_shop.py").write_text(MODULE)
    with pytest.raises(ConfigError, match=message):
        added_metrics([reference], Answer.PROBABILITY, "tasks.churn.metrics", tmp_path)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Metric("bad", "", "", "lower", BOTH, whole=lambda o: 1 / 0), "'bad' raised ZeroDivisionError"),
        (Metric("bad", "", "", "lower", BOTH, rows=lambda o: o.truth[:2]), "'bad' gave 2 values for 3 rows"),
        (Metric("bad", "", "", "lower", BOTH, whole=lambda o: float("inf")), "'bad' is inf"),
        (Metric("bad", "", "", "lower", BOTH, whole=lambda o: "high"), "'bad' raised ValueError"),  # type: ignore[arg-type,return-value]
    ],
)
def test_a_metric_that_fails_is_named(metric: Metric, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        computed(metric, Outcome(np.ones(3), np.ones(3)))
