import numpy as np
import pytest

from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, encoded, training_data
from models.families.rows.lightgbm import LightGBMLearner, LightGBMSettings
from models.metrics.quantities import poisson_deviance
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


def test_the_best_loss_of_quantities_is_that_with_the_lower_deviance_on_validation() -> None:
    data = training_data(COLUMNS, Answer.QUANTITY)
    either = {
        loss: LightGBMLearner(LightGBMSettings.model_validate({"quantity": loss, "rounds": 15})).fit(data, 0)
        for loss in ("poisson", "tweedie", "best")
    }
    deviance = {loss: poisson_deviance(data.valid_label, model.scores(data.valid)) for loss, model in either.items()}
    assert deviance["poisson"] != deviance["tweedie"]
    assert deviance["best"] == min(deviance.values())
    better = min(("poisson", "tweedie"), key=lambda loss: deviance[loss])
    assert either["best"].notes == (f"it minimises the {better} loss, by validation",)
