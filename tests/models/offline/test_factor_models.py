"""The factor models of the library ``implicit`` behind our interface."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recommender_conformance import RecommenderConformance, ask, planted, require_order
from threadpoolctl import threadpool_limits

from cartwheel.core.errors import UsageError
from models.families.factors.factors import products
from models.families.popularity.most_popular import item_counts
from models.families.recommender import Recommender
from models.families.registry import ALS, BPR


class TestALS(RecommenderConformance):
    draws = True

    def make(self, seed: int = 0) -> Recommender:
        return ALS(factors=16, l2=1.0, alpha=10.0, seed=seed)

    def test_a_history_is_folded_in_by_the_least_squares_of_the_docstring(self) -> None:
        log = planted()
        model = ALS(factors=8, l2=2.0, alpha=5.0)
        model.fit(log)
        items = model.item_factors.astype(np.float64)
        history = [0, 3, 9]
        confidence = np.ones(log.items)
        confidence[history] = 5.0
        preference = np.zeros(log.items)
        preference[history] = 1.0
        left = (items.T * confidence) @ items + 2.0 * np.eye(8)
        asker = np.linalg.solve(left, items.T @ (confidence * preference))
        np.testing.assert_allclose(model.scores(ask(history))[0], items @ asker, rtol=1e-3, atol=1e-5)

    def test_who_asks_does_not_matter_but_the_history(self) -> None:
        model = self.fitted(planted())
        np.testing.assert_array_equal(*np.split(model.scores(ask([0, 1], [0, 1], users=[4, -1])), 2))

    def test_an_item_never_seen_scores_0(self) -> None:
        log = planted()
        scores = self.fitted(log.take(log.item != 3)).scores(ask([0, 1], [3]))
        assert not scores[:, 3].any()
        np.testing.assert_allclose(scores[1], 0.0, atol=1e-12)

    def test_parameters_out_of_range_are_refused(self) -> None:
        with pytest.raises(UsageError, match="als: l2 is 0"):
            ALS(l2=0)


class TestBPR(RecommenderConformance):
    draws = True

    def make(self, seed: int = 0) -> Recommender:
        return BPR(factors=16, learning_rate=0.05, iterations=200, seed=seed)

    def test_a_known_user_is_answered_from_what_was_learnt_and_a_stranger_from_the_history(self) -> None:
        log = planted()
        model = BPR(factors=4, iterations=5)
        model.fit(log)
        scores = model.scores(ask([0, 6], [0, 6, 6], [], users=[2, -1, -1]))
        np.testing.assert_allclose(scores[0], model.item_factors @ model.user_factors[2], rtol=1e-5, atol=1e-7)
        mean = model.item_factors[[0, 6]].mean(axis=0)
        mean[-1] = 1.0
        np.testing.assert_allclose(scores[1], model.item_factors @ mean, rtol=1e-5, atol=1e-7)
        require_order(scores[2], item_counts(log))

    def test_an_item_never_seen_scores_as_low_as_the_lowest(self) -> None:
        log = planted()
        scores = self.fitted(log.take(log.item != 3)).scores(ask([0, 1], [3], users=[1, -1]))
        np.testing.assert_allclose(scores[:, 3], np.delete(scores, 3, axis=1).min(axis=1), rtol=1e-12, atol=1e-12)
        assert (scores[:, 3] < np.delete(scores, 3, axis=1).min(axis=1)).all()

    def test_parameters_out_of_range_are_refused(self) -> None:
        with pytest.raises(UsageError, match="bpr: learning_rate is 0"):
            BPR(learning_rate=0)


def test_als_learns_the_same_in_however_many_threads() -> None:
    """Each solves for whole rows, so that nothing is summed up in an order of chance."""
    learnt = []
    for threads in (1, 3):
        model = ALS(iterations=3)
        with threadpool_limits(threads, "openmp"):
            model.fit(planted())
        learnt.append(model.item_factors)
    np.testing.assert_array_equal(*learnt)


def test_products_do_not_depend_on_how_many_ask() -> None:
    generator = np.random.default_rng(0)
    askers, items = generator.normal(size=(150, 33)).astype(np.float32), generator.normal(size=(211, 33)).astype(np.float32)
    together = products(askers, items)
    np.testing.assert_allclose(together, askers.astype(np.float64) @ items.T.astype(np.float64), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(products(askers[17:18], items)[0], together[17])
    np.testing.assert_array_equal(products(askers[5:90], items), together[5:90])
    np.testing.assert_array_equal(products(askers, items[[4] * 100]), np.repeat(together[:, 4, None], 100, axis=1))
    assert products(askers[:0], items).shape == (0, 211)


def test_training_is_quiet_in_a_process_that_has_loaded_nothing_yet() -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[1])
from recommender_conformance import planted
from models.families.registry import ALS, BPR
for model in (ALS(factors=4, iterations=2), BPR(factors=4, iterations=2)):
    model.fit(planted())
"""
    command = [sys.executable, "-W", "always::RuntimeWarning", "-c", program, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", "")
