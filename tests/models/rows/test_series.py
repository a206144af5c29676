"""The simple rules of series: the laws of learners, and what they are by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cartwheel.core.errors import DataError
from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, training_data
from models.families.family import TrainingData
from models.families.rows.series import RecentMeanLearner, SeasonalNaiveLearner
from models.training.tables import Table
from workflows.features.column import Column, Kind, Owner
from workflows.features.scale import Scale
from workflows.tasks.task import Answer


class TestRecentMean(LearnerConformance):
    """On a column that means something else, it learns nothing."""

    learner = RecentMeanLearner
    settings = {"column": "spent"}  # noqa: RUF012

    def test_it_learns_what_is_planted(self) -> None:
        data = past()
        np.testing.assert_allclose(RecentMeanLearner().fit(data, 0).scores(data.train), [4.0, 0.5], rtol=1e-6)


class TestSeasonalNaive(LearnerConformance):
    """Likewise."""

    learner = SeasonalNaiveLearner
    settings = {"last": "spent", "ahead": "visits"}  # noqa: RUF012

    def test_it_learns_what_is_planted(self) -> None:
        """Of a season of three windows: the third ahead is like the last one, the fourth like the first of the season before it."""
        data = past()
        np.testing.assert_allclose(SeasonalNaiveLearner().fit(data, 0).scores(data.train), [10.0, 23.0], rtol=1e-6)


def past() -> TrainingData:
    """Two rows: asked about the third window ahead, and the fourth."""
    raw = {
        "past_1": [10.0, 21.0], "past_2": [11.0, 22.0], "past_3": [12.0, 23.0], "past_mean_28d": [4.0, 0.5], "windows_ahead": [3.0, 4.0],
    }  # fmt: skip
    scales = {name: Scale(0.4, 1.3, log=name != "windows_ahead") for name in raw}
    encoded = {name: ((np.log1p(values) if scales[name].log else np.asarray(values)) - 0.4) / 1.3 for name, values in raw.items()}
    table = Table(Path("past"), {name: values.astype(np.float32) for name, values in encoded.items()})
    columns = tuple(Column(name, Owner.ITEM, Kind.NUMBER, name) for name in raw)
    label = np.array([1.0, 2.0])
    return TrainingData("demand", Answer.QUANTITY, columns, {}, table, label, table, label, scales=scales)


def test_without_a_window_the_season_ends_where_the_anchor_begins() -> None:
    data = past()
    known = tuple(column for column in data.columns if column.name != "windows_ahead")
    model = SeasonalNaiveLearner().fit(TrainingData(**{**vars(data), "columns": known}), 0)
    np.testing.assert_allclose(model.scores(data.train), [12.0, 23.0], rtol=1e-6)


@pytest.mark.parametrize("rule", [RecentMeanLearner, SeasonalNaiveLearner])
def test_what_has_no_past_is_refused_in_a_sentence(rule: type[RecentMeanLearner]) -> None:
    with pytest.raises(DataError, match="needs a column of what is predicted in earlier windows"):
        rule().fit(training_data(COLUMNS, Answer.QUANTITY), 0)
