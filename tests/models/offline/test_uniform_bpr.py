"""BPR with uniform negatives: the suite of all recommenders, and one step by hand."""

import numpy as np
from recommender_conformance import RecommenderConformance, planted

from models.families.factors.pairwise_descent import ascend
from models.families.recommender import Recommender
from models.families.registry import BPR


class TestUniformBPR(RecommenderConformance):
    draws = True

    def make(self, seed: int = 0) -> Recommender:
        return BPR(factors=16, learning_rate=0.05, iterations=200, negatives="uniform", seed=seed)


def test_one_step_is_the_gradient_of_the_docstring() -> None:
    generator = np.random.default_rng(0)
    users, items, bias = (generator.normal(size=shape).astype(np.float32) for shape in ((2, 3), (4, 3), (4,)))
    asker, better, worse, rate, l2 = users[1].copy(), items[2].copy(), items[0].copy(), 0.1, 0.01
    lead = bias[2] - bias[0] + asker @ (better - worse)
    slope = 1 / (1 + np.exp(lead))
    expected = (bias[2] + rate * (slope - l2 * bias[2]), bias[0] + rate * (-slope - l2 * bias[0]))
    ascend(*(np.array([n]) for n in (1, 2, 0)), users, items, bias, np.float32(rate), np.float32(l2))
    np.testing.assert_allclose(users[1], asker + rate * (slope * (better - worse) - l2 * asker), rtol=1e-5)
    np.testing.assert_allclose(items[2], better + rate * (slope * asker - l2 * better), rtol=1e-5)
    np.testing.assert_allclose(items[0], worse + rate * (-slope * asker - l2 * worse), rtol=1e-5)
    np.testing.assert_allclose(bias[[2, 0]], expected, rtol=1e-5)


def test_uniform_negatives_teach_popularity() -> None:
    """An item that few have is drawn as often as any, so its bias sinks."""
    log = planted()
    count = np.bincount(log.item, minlength=log.items)
    model = BPR(factors=4, iterations=100, negatives="uniform")
    model.fit(log)
    assert np.corrcoef(model.item_factors[:, -1], np.log(count))[0, 1] > 0.5
