"""The closed form against NumPy, and the guard of memory."""

import numpy as np
import pytest
from recommender_conformance import RecommenderConformance, ask, planted, require_order, small

from cartwheel.core.errors import UsageError
from models.families.recommender import Recommender
from models.families.registry import EASE
from models.questions.interactions import Floats, Interactions


def weights(log: Interactions, l2: float) -> Floats:
    """The formula of the docstring."""
    history = log.matrix().toarray()
    inverse = np.linalg.inv(history.T @ history + l2 * np.eye(log.items))
    result: Floats = -inverse / np.diag(inverse)[None]
    np.fill_diagonal(result, 0.0)
    return result


class TestEASE(RecommenderConformance):
    def make(self, seed: int = 0) -> Recommender:
        return EASE(l2=10.0)

    def test_two_items_by_hand(self) -> None:
        """X'X + I = [[3, 1], [1, 4]] has the inverse [[4, -1], [-1, 3]] / 11, so B(0, 1) = 1/3 and B(1, 0) = 1/4."""
        model = EASE(l2=1.0)
        model.fit(small([(0, 0, 1), (1, 0, 1), (1, 1, 2), (2, 1, 1), (3, 1, 1)]))
        np.testing.assert_allclose(
            model.scores(ask([0], [1], [0, 1], [])), [[0, 1 / 3], [1 / 4, 0], [1 / 4, 1 / 3], [0, 0]], rtol=1e-6, atol=1e-12
        )

    @pytest.mark.parametrize("block", [7, 1024])
    def test_it_agrees_with_numpy(self, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("models.families.neighbours.reconstruction._BLOCK", block)
        log = planted()
        scores = self.fitted(log).scores(ask(*[[item] for item in range(log.items)]))
        np.testing.assert_allclose(scores, weights(log, 10.0), rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("block", [7, 1024])
    def test_fewer_users_than_items_give_the_same_by_a_smaller_inverse(self, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("models.families.neighbours.reconstruction._BLOCK", block)
        log = planted()
        few = log.take(log.user < 20)
        assert len(np.unique(few.user)) < len(np.unique(few.item))
        scores = self.fitted(few).scores(ask(*[[item] for item in range(log.items)]))
        held = np.bincount(few.item, minlength=log.items) > 0
        expected = np.where(held[:, None] & held, weights(few, 10.0), 0.0)
        np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-9)

    def test_only_the_most_popular_are_learnt_where_so_asked(self) -> None:
        log = planted()
        count = np.bincount(log.item)
        kept = np.sort(np.argsort(-count, kind="stable")[:10])
        model = EASE(l2=10.0, max_items=10)
        model.fit(log)
        scores = model.scores(ask(*[[item] for item in range(log.items)]))
        only = log.take(np.isin(log.item, kept))
        np.testing.assert_allclose(scores[np.ix_(kept, kept)], weights(only, 10.0)[np.ix_(kept, kept)], rtol=1e-6, atol=1e-9)
        for left_out in (np.delete(scores, kept, axis=0), np.delete(scores, kept, axis=1)):
            np.testing.assert_allclose(left_out, 0.0, atol=1e-12)
        require_order(scores[np.flatnonzero(~np.isin(np.arange(log.items), kept))[0]], count)

    def test_more_items_than_memory_are_refused_with_the_way_out(self) -> None:
        log = planted()
        with pytest.raises(UsageError, match=r"48 items need .* GiB, more than memory_gib = 1e-05.*Set max_items to at most 29"):
            EASE(memory_gib=1e-5).fit(log)
        EASE(memory_gib=1e-5, max_items=29).fit(log)

    def test_no_penalty_is_refused(self) -> None:
        with pytest.raises(UsageError, match="ease: l2 is 0"):
            EASE(l2=0)
