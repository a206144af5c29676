"""Families that find rows unlike most others."""

from dataclasses import replace

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, training_data
from models.families.rows.autoencoder import AutoencoderLearner, AutoencoderSettings
from models.families.rows.isolation_forest import IsolationForestLearner, IsolationForestSettings
from workflows.tasks.task import Answer

RNG = np.random.default_rng(5)
USUAL = (RNG.normal(size=(3000, 2)) @ RNG.normal(size=(2, 8)) + 0.05 * RNG.normal(size=(3000, 8))).astype(np.float32)
STRANGE = RNG.normal(size=(60, 8)).astype(np.float32) * USUAL.std(axis=0)


class TestIsolationForest(LearnerConformance):
    learner = IsolationForestLearner
    learns = False


class TestAutoencoder(LearnerConformance):
    learner = AutoencoderLearner
    learns = False


def test_path_lengths_are_those_of_scikit_learn() -> None:
    made = IsolationForestLearner(IsolationForestSettings(trees=20)).detector(USUAL, 3)
    expected = -IsolationForest(n_estimators=20, max_samples=256, random_state=3).fit(USUAL).score_samples(STRANGE)
    np.testing.assert_allclose(made.strangeness(STRANGE), expected, atol=2e-4)


def test_an_autoencoder_finds_rows_off_the_plane_of_usual_ones() -> None:
    made = AutoencoderLearner(AutoencoderSettings(narrow=4)).detector(USUAL[:2500], 0)
    found = made.strangeness(np.concatenate([USUAL[2500:], STRANGE]))
    assert roc_auc_score(np.repeat([0, 1], [500, 60]), found) > 0.95


def test_a_note_tells_where_unusual_rows_are_the_good_ones() -> None:
    data = training_data(COLUMNS[:1], Answer.PROBABILITY)
    middle = np.abs(data.train["age"]) < 0.3
    some = np.random.default_rng(0).random(len(middle)) < 0.15
    notes = [
        IsolationForestLearner().fit(replace(data, label=(rows & some).astype(float)), 0).notes for rows in (middle, ~middle)
    ]
    assert "the usual ones are more often labelled yes" in notes[0][0]
    assert not notes[1]
