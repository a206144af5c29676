import numpy as np
import pytest

from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, encoded, training_data
from models.families.rows.lightgbm import LightGBMLearner, LightGBMSettings
from workflows.tasks.task import Answer


class TestLightGBM(LearnerConformance):
    learner = LightGBMLearner


@pytest.mark.parametrize("answer", sorted(LightGBMLearner.tags.answers, key=lambda each: each.value))
def test_the_number_of_threads_changes_no_tree(answer: Answer) -> None:
    data, fresh = training_data(COLUMNS, answer, 8000), encoded(COLUMNS, 1000, 9)
    one, three = (
        LightGBMLearner(LightGBMSettings(num_threads=threads, rounds=15)).fit(data, 0).scores(fresh) for threads in (1, 3)
    )
    np.testing.assert_array_equal(one, three)
