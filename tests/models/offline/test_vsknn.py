"""Session neighbours against a reference that compares a session with every other, one at a time."""

import math
from itertools import groupby
from typing import Literal

import numpy as np
import polars as pl
import pytest
from recommender_conformance import RecommenderConformance, ask, planted, small

from cartwheel.core.errors import UsageError
from evaluation.protocols.protocol import Protocol, SessionNextItem
from evaluation.protocols.splits import folds
from models.families.recommender import Recommender
from models.families.registry import VSKNN
from models.questions.interactions import Interactions, Queries, from_events


def reference(model: VSKNN, log: Interactions, running: list[int]) -> list[float]:
    """The docstring of V-SkNN, word by word."""
    by_session = sorted(zip(log.session.tolist(), log.time.tolist(), log.item.tolist(), strict=True))
    sessions = [(code, list(rows)) for code, rows in groupby(by_session, key=lambda row: row[0])]
    sessions.sort(key=lambda pair: (max(time for _, time, _ in pair[1]), pair[0]))
    contents = [{item for _, _, item in rows} for _, rows in sessions]
    weight = {item: (place + 1) / len(running) for place, item in enumerate(running)}
    sharing = [number for number, items in enumerate(contents) if items & set(running)][-model.sample :]
    similarity = {number: sum(weight[item] for item in contents[number] & set(running)) for number in sharing}
    if model.similarity == "cosine":
        norm = math.sqrt(sum(value**2 for value in weight.values()))
        similarity = {number: value / norm / math.sqrt(len(contents[number])) for number, value in similarity.items()}
    nearest = sorted(sharing, key=lambda number: (-round(similarity[number], 12), -number))[: model.neighbours]
    scores = [0.0] * log.items
    for number in nearest:
        place = min(step for step, item in enumerate(reversed(running), 1) if item in contents[number])
        for item in contents[number]:
            rarity = 1 + model.idf * math.log(len(contents) / sum(item in other for other in contents))
            scores[item] += rarity * similarity[number] / (place if model.decay else 1)
    return scores


def mixed() -> Interactions:
    """Sessions of random items: of many lengths, with repeats, overlapping in time."""
    generator = np.random.default_rng(5)
    session = np.sort(generator.integers(0, 60, 400))
    return from_events(
        pl.DataFrame(
            {
                "user_id": session // 3,
                "session_id": session,
                "item_id": generator.integers(0, 25, 400),
                "timestamp": generator.permutation(400),
            }
        )
    )


class TestVSKNN(RecommenderConformance):
    def make(self, seed: int = 0) -> Recommender:
        return VSKNN()

    @pytest.mark.parametrize("similarity", ["dot", "cosine"])
    @pytest.mark.parametrize("decay", [True, False])
    @pytest.mark.parametrize(("neighbours", "sample", "idf"), [(7, 15, 0.0), (100, 1000, 2.0), (3, 1000, 1.0), (100, 4, 0.0)])
    def test_it_agrees_with_the_reference(
        self, similarity: Literal["dot", "cosine"], decay: bool, neighbours: int, sample: int, idf: float
    ) -> None:
        log = mixed()
        model = VSKNN(neighbours, sample, similarity, decay, idf)
        model.fit(log)
        running = [[3], [1, 2], [4, 4, 9], [9, 4, 4, 2, 17, 3], [24]]
        np.testing.assert_allclose(
            model.scores(ask(*running)), [reference(model, log, each) for each in running], rtol=1e-9, atol=1e-12
        )

    def test_by_hand(self) -> None:
        """Sessions {0, 1}, {1, 2}, {2, 3}; running 0 then 2: weights 1/2 and 1, decays 1/2, 1 and 1."""
        model = VSKNN(idf=0.0)
        model.fit(small([(0, 0, 1), (0, 1, 2), (1, 1, 3), (1, 2, 4), (2, 2, 5), (2, 3, 6)]))
        np.testing.assert_allclose(model.scores(ask([0, 2])), [[1 / 4, 1 / 4 + 1, 2, 1]])

    def test_only_the_running_session_is_looked_at(self) -> None:
        log = planted()
        model = self.fitted(log)
        whole = ask([7, 8, 1])
        last = Queries(whole.user, whole.now, whole.starts, whole.history, whole.times, np.array([1]))
        np.testing.assert_array_equal(model.scores(last), model.scores(ask([1])))
        assert not np.array_equal(model.scores(last), model.scores(whole))

    def test_a_neighbour_must_be_wanted(self) -> None:
        with pytest.raises(UsageError, match="vsknn: neighbours is 0"):
            VSKNN(neighbours=0)

    def test_it_answers_the_questions_of_sessions(self) -> None:
        fold = folds(mixed(), Protocol(SessionNextItem(0.2), excluded="nothing"))[0]
        model = VSKNN(neighbours=10)
        model.fit(fold.train)
        queries = fold.test.queries
        for row, scores in enumerate(model.scores(queries)):
            running = queries.history[queries.starts[row] : queries.starts[row + 1]].tolist()
            np.testing.assert_allclose(scores, reference(model, fold.train, running), rtol=1e-9, atol=1e-12)
