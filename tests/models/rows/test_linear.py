from dataclasses import replace

import numpy as np

from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, training_data
from models.families.rows.linear import LinearSettings, LogisticRegressionLearner, PoissonRegressionLearner
from models.training.tables import Table
from workflows.tasks.task import Answer


class TestLogisticRegression(LearnerConformance):
    learner = LogisticRegressionLearner


class TestPoissonRegression(LearnerConformance):
    learner = PoissonRegressionLearner


def test_columns_that_tell_the_same_share_their_weight() -> None:
    """Without a penalty, two columns that differ by rounding alone get large weights that cancel, and reasons that mean nothing."""
    age = COLUMNS[0]
    columns = (age, replace(age, name="again"))
    data = training_data(columns, Answer.PROBABILITY)
    rng = np.random.default_rng(0)
    tables = [
        Table(table.folder, {"age": table["age"], "again": table["age"] + rng.normal(0, 0.01, len(table)).astype(np.float32)})
        for table in (data.train, data.valid)
    ]
    fitted = LogisticRegressionLearner().fit(replace(data, train=tables[0], valid=tables[1]), 0)
    first, second = fitted.weights
    assert 0.3 < first < 0.9
    assert abs(first - second) < 0.3
    assert "chosen on validation rows" in fitted.notes[0]


def test_a_given_penalty_is_kept() -> None:
    data = training_data(COLUMNS[:1], Answer.PROBABILITY)
    learner = LogisticRegressionLearner(LinearSettings(l2=1000.0))
    assert learner.fit(data, 0).notes == ()
    assert abs(learner.fit(data, 0).weights[0]) < 0.9 * abs(
        LogisticRegressionLearner(LinearSettings(l2=1.0)).fit(data, 0).weights[0]
    )
