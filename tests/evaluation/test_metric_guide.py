"""The guide to a metric of one's own does what it shows."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cartwheel.testing import MetricConformance
from evaluation.metric import Metric, Outcome, added_metrics, metrics_of
from workflows.settings import PrepareSettings
from workflows.tasks.settings import TaskSettings, declared
from workflows.tasks.task import Answer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "own-metric.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "my_metrics.py").write_text("\n".join(blocks("python")))
    yield tmp_path
    sys.modules.pop("my_metrics", None)


def test_the_metrics_of_the_guide_join_those_of_the_task(shop: Path) -> None:
    section = tomllib.loads(blocks("toml")[0])["tasks"]["churn"]
    task = declared("churn", TaskSettings.model_validate(section), PrepareSettings(), shop)
    assert task.answer is Answer.PROBABILITY
    added = added_metrics(task.metrics, task.answer, "tasks.churn.metrics", shop)
    assert [metric.name for metric in metrics_of(task.answer, added)][-2:] == ["lift", "missed"]


def test_they_measure_what_the_guide_says(shop: Path) -> None:
    lift, missed = added_metrics(["my_metrics:LIFT", "my_metrics:MISSED"], Answer.PROBABILITY, "metrics", shop)
    truth = np.array([1.0] * 5 + [0.0] * 15)
    assert lift.value(Outcome(truth, truth)) == 4.0
    assert lift.value(Outcome(np.zeros(20), truth)) == 0.0
    assert np.isnan(lift.value(Outcome(truth, np.zeros(20))))
    assert missed.value(Outcome(np.full(20, 0.05), truth)) == 0.25


@pytest.mark.parametrize("suite", ["TestLift", "TestMissed"])
def test_the_suites_of_the_guide_hold(suite: str) -> None:
    for name in laws():
        getattr(suites()[suite](), name)()


def test_the_suite_finds_a_metric_whose_direction_is_wrong() -> None:
    wrong = suites('"higher"', '"lower"')["TestLift"]
    with pytest.raises(AssertionError):
        wrong().test_the_truth_is_at_least_as_good_as_a_shuffled_prediction()


def suites(old: str = "", new: str = "") -> dict[str, Any]:
    module = ModuleType("guide")
    exec("\n".join(blocks("python")).replace(old, new), module.__dict__)
    assert isinstance(module.__dict__["LIFT"], Metric)
    return module.__dict__


def laws() -> list[str]:
    found = [name for name in dir(MetricConformance) if name.startswith("test_")]
    assert len(found) == 5
    return found


def test_the_guide_fits_a_page() -> None:
    assert len(GUIDE.splitlines()) <= 90
