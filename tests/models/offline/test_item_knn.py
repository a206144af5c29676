"""Items that go together: each similarity by hand, and the smart adaptive recommendations setting."""

import numpy as np
import pytest
from recommender_conformance import RecommenderConformance, ask, planted, reweighted, small

from cartwheel.core.errors import UsageError
from models.families.neighbours.item_knn import Similarity
from models.families.popularity.recently_popular import DAY
from models.families.recommender import Recommender
from models.families.registry import ItemKNN
from models.questions.interactions import Floats, Interactions, Queries


def pairs() -> Interactions:
    """Items 0 and 1 share users 0 and 1; 1 and 2 share user 1; item 0 is user 2's too, and user 3 has 2 twice."""
    return small([(0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 1, 2), (1, 2, 3), (2, 0, 1), (3, 2, 1), (3, 2, 2)])


def similarities(log: Interactions, similarity: Similarity, shrinkage: float) -> Floats:
    """The formulas of the docstring on dense matrices."""
    held = log.matrix().toarray()
    both = held.T @ held
    count = np.diag(both)
    one, other = count[:, None], count[None]
    below = {"cosine": np.sqrt(one * other), "jaccard": one + other - both, "lift": one * other}[similarity]
    result: Floats = both / (below + shrinkage)
    np.fill_diagonal(result, 0.0)
    return result


class TestItemKNN(RecommenderConformance):
    def make(self, seed: int = 0) -> Recommender:
        return ItemKNN(shrinkage=2.0)

    @pytest.mark.parametrize(
        ("similarity", "expected"),
        [
            ("cosine", [[0, 2 / 6**0.5, 1 / 6**0.5], [2 / 6**0.5, 0, 0.5], [1 / 6**0.5, 0.5, 0]]),
            ("jaccard", [[0, 2 / 3, 1 / 4], [2 / 3, 0, 1 / 3], [1 / 4, 1 / 3, 0]]),
            ("lift", [[0, 2 / 6, 1 / 6], [2 / 6, 0, 1 / 4], [1 / 6, 1 / 4, 0]]),
        ],
    )
    def test_each_similarity_is_as_counted_by_hand(self, similarity: Similarity, expected: list[list[float]]) -> None:
        recommender = ItemKNN(None, similarity, 0.0)
        recommender.fit(pairs())
        np.testing.assert_allclose(recommender.scores(ask([0], [1], [2])), expected, atol=1e-12)
        np.testing.assert_allclose(recommender.scores(ask([0, 0, 2])), np.sum(np.array(expected)[[0, 2]], axis=0)[None])

    @pytest.mark.parametrize("similarity", ["cosine", "jaccard", "lift"])
    def test_it_agrees_with_dense_matrices(self, similarity: Similarity, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("models.families.neighbours.blocks._ROWS", 7)  # several blocks, the last one short
        monkeypatch.setattr("models.families.neighbours.blocks._ROOM", 20)  # of which not all rows fit at once
        log = planted()
        recommender = ItemKNN(None, similarity, 3.0)
        recommender.fit(log)
        queries = ask(*[[item] for item in range(log.items)])
        np.testing.assert_allclose(recommender.scores(queries), similarities(log, similarity, 3.0), atol=1e-12)

    def test_each_item_keeps_its_nearest_and_those_as_near_as_the_last(self) -> None:
        log = planted()
        dense = similarities(log, "cosine", 0.0)
        recommender = ItemKNN(3, "cosine", 0.0)
        recommender.fit(log)
        third = np.sort(dense, axis=1)[:, -3, None]
        scores = recommender.scores(ask(*[[item] for item in range(log.items)]))
        np.testing.assert_allclose(scores, np.where(dense >= third - 1e-12, dense, 0.0), atol=1e-12)

    def test_old_events_fade_by_half_in_a_half_life(self) -> None:
        recommender = ItemKNN(None, "jaccard", 0.0, half_life_days=30.0)
        recommender.fit(pairs())
        times = np.array([0, 30, 60]) * DAY
        queries = Queries(*(np.array(x, np.int64) for x in ([-1], [99 * DAY], [0, 3], [0, 0, 2], times, [3])))
        zero, two = similarities(pairs(), "jaccard", 0.0)[[0, 2]]
        np.testing.assert_allclose(recommender.scores(queries)[0], (1 / 4 + 1 / 2) * zero + two)

    def test_weights_are_the_means_of_the_users_own(self) -> None:
        recommender = ItemKNN(None, "jaccard", 0.0, weighted=True)
        recommender.fit(reweighted(pairs(), [5, 1, 1, 1, 1, 1, 2, 4]))
        zero, _, two = similarities(pairs(), "jaccard", 0.0)
        scores = recommender.scores(ask([0], [0], [2], [0], users=[0, -1, 3, 3]))
        np.testing.assert_allclose(scores, [5 * zero, zero, 3 * two, zero], atol=1e-12)

    def test_sessions_are_units_where_asked(self) -> None:
        by_session, by_user = ItemKNN(None, shrinkage=0.0, unit="session"), ItemKNN(None, shrinkage=0.0)
        log = planted()
        for each in (by_session, by_user):
            each.fit(log)
        apart = ask([0])  # items 0 and 3 are never in one session of three events, and often in one history of five
        assert by_user.scores(apart)[0, 3] > 1e-12
        assert by_session.scores(apart)[0, 3] < 1e-12
        assert by_session.scores(apart)[0, 1] > 1e-12

    def test_a_parameter_out_of_range_is_refused(self) -> None:
        with pytest.raises(UsageError, match="item_knn: neighbours is 0"):
            ItemKNN(0)
        with pytest.raises(UsageError, match="item_knn: shrinkage is -1"):
            ItemKNN(shrinkage=-1)


class TestSar(RecommenderConformance):
    def make(self, seed: int = 0) -> Recommender:
        return ItemKNN.sar()

    def test_it_is_affinity_times_jaccard(self) -> None:
        log = reweighted(pairs(), [4, 2, 1, 1, 1, 1, 1, 1])
        recommender = self.fitted(log)
        assert recommender.name == "sar"
        times = np.array([0, 15]) * DAY
        queries = Queries(*(np.array(x, np.int64) for x in ([0], [99 * DAY], [0, 2], [0, 1], times, [2])))
        dense = similarities(log, "jaccard", 0.0)
        np.testing.assert_allclose(recommender.scores(queries)[0], 4 * 2**-0.5 * dense[0] + 2 * dense[1])
