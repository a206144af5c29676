"""Models of effects keep the laws of learners, find planted effects, and are judged by the order that they give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cartwheel.core.errors import DataError
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, arms_of, encoded, training_data
from models.families.row_registry import make_learner
from models.families.rows.effects import LinearXLearner, TreeSLearner, TreeTLearner
from models.metrics.targeting import qini_coefficient
from models.tasks.effects import given_at_random, row_targeting_loss
from models.tasks.train import TaskModel
from models.training.calibration import Platt
from workflows.tasks.task import Answer

LEARNERS = [f"{method}_{model}" for model in ("linear", "trees") for method in "stx"]
DATA = training_data(COLUMNS, Answer.EFFECT, 3000)
FAST = {"rounds": 40, "min_rows": 40}


class TestLinearX(LearnerConformance):
    learner = LinearXLearner


class TestTreesS(LearnerConformance):
    learner = TreeSLearner
    settings = FAST


class TestTreesT(LearnerConformance):
    learner = TreeTLearner
    settings = FAST


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_finds_who_is_moved_and_serves_it(name: str) -> None:
    settings = FAST if name.endswith("trees") else {}
    fitted = make_learner(name, settings).fit(DATA, 0)
    rows = encoded(COLUMNS, 2000, 77)
    found = fitted.scores(rows)
    model = OnnxModel(fitted.onnx().SerializeToString())
    np.testing.assert_allclose(model.table(rows.columns, "score")[:, 0], found, atol=1e-5)
    if name != "s_linear":  # a logistic model without products of columns moves all log odds alike
        assert np.corrcoef(found, rows["age"])[0, 1] > 0.8
        assert row_targeting_loss(DATA, fitted.scores(DATA.valid), 0).mean() < -0.02


def test_amounts_have_effects_too() -> None:
    spent = np.random.default_rng(3).poisson(np.exp(0.5 * DATA.train["age"] * DATA.treated)).astype(float)
    data = replace(DATA, label=spent)
    for name in ("t_linear", "t_trees", "x_trees"):
        found = make_learner(name, FAST if name.endswith("trees") else {}).fit(data, 0).scores(encoded(COLUMNS, 500, 5))
        assert np.corrcoef(found, encoded(COLUMNS, 500, 5)["age"])[0, 1] > 0.7


def test_an_effect_is_answered_as_it_is() -> None:
    model = TaskModel("t_linear", Answer.EFFECT, (), {}, {}, {}, Platt(), None)
    np.testing.assert_array_equal(model.answers(np.array([-0.2, 0.1])), [-0.2, 0.1])


def test_one_arm_teaches_no_effect() -> None:
    for treated in (np.ones(3000), None):
        with pytest.raises(DataError, match=r"not treated have|needs the treatment of each"):
            make_learner("t_linear").fit(replace(DATA, treated=treated), 0)


def test_the_loss_is_the_area_of_the_qini_curve_and_0_of_a_constant() -> None:
    assert row_targeting_loss(DATA, np.full(3000, 0.1), 0).mean() == pytest.approx(0.0, abs=1e-12)
    loss = row_targeting_loss(DATA, DATA.valid["age"].astype(float), 0)
    assert loss.mean() < -4 * loss.std() / np.sqrt(len(loss))
    assert row_targeting_loss(DATA, -DATA.valid["age"].astype(float), 0).mean() == pytest.approx(-loss.mean(), rel=0.01)


def test_a_treatment_that_the_columns_tell_is_told() -> None:
    assert not given_at_random(DATA, 0)
    told = [(rows["age"] > 0).astype(float) for rows in (DATA.train, DATA.valid)]
    assert "it was not given at random" in given_at_random(replace(DATA, treated=told[0], valid_treated=told[1]), 0)


def test_the_coefficient_is_1_of_a_perfect_order_and_near_0_of_a_random_one() -> None:
    rng = np.random.default_rng(0)
    outcome, treated = (rng.random(4000) < 0.3).astype(int), arms_of(4000, 1).astype(int)
    assert qini_coefficient(outcome, treated, outcome * (2.0 * treated - 1.0)) == pytest.approx(1.0)
    assert qini_coefficient(outcome, treated, rng.random(4000)) == pytest.approx(0.0, abs=0.1)
    assert np.isnan(qini_coefficient(outcome, np.ones(4000, int), rng.random(4000)))
