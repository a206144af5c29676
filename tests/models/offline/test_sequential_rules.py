"""What follows what, counted by hand."""

import numpy as np
import pytest
from recommender_conformance import RecommenderConformance, ask, planted, small

from cartwheel.core.errors import UsageError
from models.families.neighbours.sequential_rules import SequentialRules
from models.families.recommender import Recommender


class TestSequentialRules(RecommenderConformance):
    def make(self, seed: int = 0) -> Recommender:
        return SequentialRules()

    def test_nearer_items_speak_louder(self) -> None:
        rules = SequentialRules(shrinkage=0.0, discount=0.0, decay=1.0)
        rules.fit(small([(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 0, 1), (1, 2, 2), (2, 1, 1)]))
        # Item 0 occurs twice: 1 follows at once, 2 follows after two steps and at once; nothing leads back to 0.
        np.testing.assert_allclose(rules.scores(ask([0], [1], [2])), [[0, 0.5, (0.5 + 1) / 2], [0, 0, 0.5], [0, 0, 0]])

    def test_a_window_of_one_step_sees_no_further(self) -> None:
        rules = SequentialRules(window=1, shrinkage=0.0, discount=0.0)
        rules.fit(small([(0, 0, 1), (0, 1, 2), (0, 2, 3)]))
        np.testing.assert_allclose(rules.scores(ask([0])), [[0, 1, 0]])

    def test_shrinkage_and_discount_hold_back(self) -> None:
        rules = SequentialRules(shrinkage=3.0, discount=0.5)
        rules.fit(small([(0, 0, 1), (0, 1, 2), (1, 1, 1)]))
        np.testing.assert_allclose(rules.scores(ask([0])), [[0, 1 / ((1 + 3) * 2**0.5)]])

    def test_older_items_of_the_history_say_less(self) -> None:
        rules = SequentialRules(shrinkage=0.0, discount=0.0, decay=0.25)
        rules.fit(small([(0, 0, 1), (0, 1, 2), (1, 2, 1), (1, 3, 2)]))
        np.testing.assert_allclose(rules.scores(ask([0, 2])), [[0, 0.25, 0, 1]])

    def test_sessions_can_bound_what_follows(self) -> None:
        by_user, by_session = SequentialRules(), SequentialRules(unit="session")
        log = planted()
        by_user.fit(log)
        by_session.fit(log)
        assert by_session.similarities(log.items).nnz < by_user.similarities(log.items).nnz

    def test_bad_parameters_are_refused(self) -> None:
        with pytest.raises(UsageError, match="sequential_rules"):
            SequentialRules(window=0)
