"""What follows what, against counting by hand and one event at a time."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from recommender_conformance import RecommenderConformance, ask, planted, small

from cartwheel.core.errors import UsageError
from models.families.recommender import Recommender
from models.families.registry import MarkovNextItem


class TestMarkovNextItem(RecommenderConformance):
    def make(self, seed: int = 0) -> Recommender:
        return MarkovNextItem()

    def test_by_hand(self) -> None:
        """1 follows 0 twice and 2 once; popularity is 4/9, 3/9, 2/9."""
        log = small([(0, 0, 1), (0, 1, 2), (0, 0, 3), (0, 2, 4), (1, 0, 1), (1, 1, 2), (2, 0, 7), (3, 1, 7), (4, 2, 7)])
        model = MarkovNextItem(prior=3.0)
        model.fit(log)
        expected = [[3 * 4 / 9 / 6, (2 + 1) / 6, (1 + 3 * 2 / 9) / 6], [4 / 9, 3 / 9, 2 / 9]]
        np.testing.assert_allclose(model.scores(ask([1, 0], [])), expected)
        np.testing.assert_allclose(model.scores(ask([0, 1])), [[(1 + 3 * 4 / 9) / 4, 1 / 4, 3 * 2 / 9 / 4]])

    def test_it_agrees_with_counting_and_never_crosses_sessions(self) -> None:
        log = planted()
        order = sorted(range(len(log)), key=lambda row: (log.session[row], log.time[row]))
        follows = Counter(
            (int(log.item[one]), int(log.item[other])) for one, other in pairwise(order) if log.session[one] == log.session[other]
        )
        popular = Counter(log.item.tolist())
        scores = self.fitted(log).scores(ask(*[[item] for item in range(log.items)]))
        for item, row in enumerate(scores):
            leaving = sum(count for (one, _), count in follows.items() if one == item)
            expected = [(follows[item, other] + popular[other] / len(log)) / (leaving + 1) for other in range(log.items)]
            np.testing.assert_allclose(row, expected)
        np.testing.assert_allclose(scores.sum(axis=1), 1.0)

    def test_without_a_prior_nothing_backs_off(self) -> None:
        with pytest.raises(UsageError, match="markov_next_item: prior is 0"):
            MarkovNextItem(prior=0.0)
