from __future__ import annotations

from pathlib import Path

import pytest

from cartwheel.core.errors import ConfigError, UsageError
from cartwheel.testing.learner import COLUMNS, sizes_of
from models.families.row_registry import FAMILIES, family
from models.families.rows.lightgbm import LightGBMSettings
from models.tuning.space import Real, Whole
from models.tuning.study import Budget, tune
from models.tuning.task_subject import space_of_settings, task_subject
from workflows.tasks.task import Answer

from .conftest import write_task

UNTUNED = {
    "base_rate",
    "one_feature",
    "recent_mean",
    "seasonal_naive",
    "buy_till_you_die",
    *(f"{method}_{model}" for method in "stx" for model in ("linear", "trees")),
}
"""Families without a range: rules, a likelihood, and models of effects, which no row shows the truth of."""


def test_ranges_come_from_the_settings() -> None:
    space = space_of_settings(LightGBMSettings)
    assert space["leaves"] == Whole(4, 128, log=True)
    assert space["feature_share"] == Real(0.3, 1.0, log=False)
    assert "patience" not in space
    assert all(space_of_settings(family(name).settings) for name in FAMILIES if name not in UNTUNED)


def test_a_search_is_never_worse_than_the_settings_of_now_and_goes_on(tmp_path: Path) -> None:
    layout = write_task(tmp_path, "churn", Answer.PROBABILITY)
    (layout.features("test") / "part.0.parquet").unlink()  # it is not read
    subject = task_subject(layout, COLUMNS, sizes_of(COLUMNS), "lightgbm", {"rounds": 40}, 0)
    assert subject.section == "tasks.churn.parameters.lightgbm"
    lines: list[str] = []
    first = tune(subject, tmp_path / "tuning", Budget(2), 0, lines.append)
    found = tune(subject, tmp_path / "tuning", Budget(4), 0, lines.append)
    assert len(found.trials) == 4
    assert found.trials[:2] == first.trials
    assert found.best.value <= found.trials[0].value
    assert found.trials[0].values["leaves"] == LightGBMSettings().leaves
    assert any("goes on after 2" in line for line in lines)


def test_what_cannot_be_tuned_is_said(tmp_path: Path) -> None:
    layout = write_task(tmp_path, "churn", Answer.PROBABILITY, COLUMNS[:1])
    with pytest.raises(UsageError, match="base_rate has no setting with a range"):
        task_subject(layout, COLUMNS[:1], {}, "base_rate", {}, 0)
    with pytest.raises(UsageError, match="poisson_regression does not answer with a probability"):
        task_subject(layout, COLUMNS[:1], {}, "poisson_regression", {}, 0)
    with pytest.raises(UsageError, match="sequence needs a column of kind id_list"):
        task_subject(layout, COLUMNS[:1], {}, "sequence", {}, 0)
    with pytest.raises(ConfigError, match="'forest' is not a model family"):
        task_subject(layout, COLUMNS[:1], {}, "forest", {}, 0)
