"""What follows what, counted by hand."""

import itertools
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import few, logs
from recommender_conformance import RecommenderConformance, ask, planted, small

from cartwheel.core.errors import UsageError
from models.families.neighbours.sequential_rules import SequentialRules
from models.families.recommender import Recommender
from models.questions.interactions import Interactions


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

    @pytest.mark.parametrize("unit", ["user", "session"])
    @few
    @given(log=logs(), window=st.integers(1, 6), discount=st.sampled_from([0.0, 0.3]))
    def test_they_are_as_counted_one_pair_after_the_other(
        self, unit: Literal["user", "session"], log: Interactions, window: int, discount: float
    ) -> None:
        group = log.user if unit == "user" else log.session
        expected = np.zeros((log.items, log.items))
        count = np.bincount(log.item, minlength=log.items)
        for each in np.unique(group):
            own = log.item[group == each][np.argsort(log.time[group == each], kind="stable")]
            for first, then in itertools.combinations(range(len(own)), 2):
                if then - first <= window and own[first] != own[then]:
                    expected[own[first], own[then]] += 1 / (then - first)
        expected /= (count[:, None] + 2.0) * np.maximum(count, 1.0) ** discount
        rules = SequentialRules(window, discount=discount, unit=unit)
        rules.fit(log)
        np.testing.assert_allclose(rules.similarities(log.items).toarray(), expected, rtol=1e-12, atol=0)

    def test_bad_parameters_are_refused(self) -> None:
        with pytest.raises(UsageError, match="sequential_rules"):
            SequentialRules(window=0)
