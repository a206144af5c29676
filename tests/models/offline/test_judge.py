"""What competes, what is hidden, and what chance gets."""

import numpy as np
import pytest
from hypothesis import assume, given
from logs import few, logs
from recommender_conformance import Constant, planted, small

from cartwheel.core.errors import DataError
from evaluation.protocols import judge as judge_module
from evaluation.protocols.judge import judge
from evaluation.protocols.protocol import Candidates, FullRanking, LeaveOneOut, PerUserRatio, Protocol, SampledRanking
from evaluation.protocols.splits import folds
from models.families.recommender import Recommender, Scores
from models.families.registry import ItemKNN
from models.metrics.ranking import hit_rate, recall
from models.questions.interactions import Interactions, Queries


class Random(Recommender):
    """Draws a score for each question and item from the question itself, so that asking again gives it again."""

    items: int

    @property
    def name(self) -> str:
        return "random"

    def fit(self, interactions: Interactions) -> None:
        self.items = interactions.items

    def scores(self, queries: Queries) -> Scores:
        return np.array([np.random.default_rng([int(user), 1]).random(self.items) for user in queries.user]).reshape(
            -1, self.items
        )


def wide(users: int = 400, items: int = 300) -> Interactions:
    generator = np.random.default_rng(0)
    chosen = np.array([generator.choice(items, 4, replace=False) for _ in range(users)])
    return small([(user, int(item), step) for user in range(users) for step, item in enumerate(chosen[user])])


@pytest.mark.parametrize("by", ["uniform", "popularity"])
def test_who_has_not_ranked_gets_exactly_what_chance_gives_among_a_hundred_negatives(by: str) -> None:
    protocol = Protocol(LeaveOneOut(), SampledRanking(100, by))  # type: ignore[arg-type]
    fold = folds(wide(), protocol)[0]
    constant = Constant()
    constant.fit(fold.train)
    hits = hit_rate(judge(constant, fold.test, fold.train, protocol, 10).placement, 10)
    np.testing.assert_allclose(hits, 10 / 101, rtol=1e-12)


def test_who_ranks_at_random_gets_it_on_average() -> None:
    protocol = Protocol(LeaveOneOut(), SampledRanking(100))
    fold = folds(wide(), protocol)[0]
    recommender = Random()
    recommender.fit(fold.train)
    hits = hit_rate(judge(recommender, fold.test, fold.train, protocol, 10).placement, 10)
    assert set(hits.tolist()) == {0.0, 1.0}
    deviation = (10 / 101 * 91 / 101 / len(hits)) ** 0.5
    assert hits.mean() == pytest.approx(10 / 101, abs=4 * deviation)


@pytest.mark.parametrize("candidates", [FullRanking(), FullRanking("trained"), SampledRanking(5)], ids=str)
@few
@given(log=logs(8))
def test_neither_list_nor_sample_holds_what_the_asker_saw(candidates: Candidates, log: Interactions) -> None:
    protocol = Protocol(PerUserRatio(0.4), candidates)
    try:
        fold = folds(log, protocol)[0]
    except DataError:  # nothing that is not seen is left to ask for
        assume(False)
    constant = Constant()
    constant.fit(fold.train)
    judged = judge(constant, fold.test, fold.train, protocol, log.items)
    starts = fold.test.queries.starts
    for row, top in enumerate(judged.top):
        shown = top[top >= 0]
        seen = fold.test.queries.history[starts[row] : starts[row + 1]]
        assert len(set(shown.tolist())) == len(shown)
        assert not set(shown.tolist()) & set(seen.tolist())
        truth = set(fold.test.truth_item[fold.test.truth_row == row].tolist())
        if isinstance(candidates, SampledRanking):
            assert truth <= set(shown.tolist())
            unseen = log.items - len(set(seen.tolist()) | truth)
            assert len(shown) == len(truth) + min(5, unseen)
        elif candidates.items == "trained":
            assert set(shown.tolist()) <= set(fold.train.item.tolist())


def test_items_of_the_test_alone_count_as_missed_where_only_trained_ones_compete() -> None:
    log = small([(0, 0, 1), (0, 1, 2), (0, 5, 3), (1, 1, 1), (1, 0, 2), (1, 2, 3), (2, 2, 1), (2, 1, 2), (2, 0, 3)])
    found = []
    for candidates in (FullRanking(), FullRanking("trained")):
        protocol = Protocol(LeaveOneOut(), candidates)
        fold = folds(log, protocol)[0]
        constant = Constant()
        constant.fit(fold.train)
        found.append(recall(judge(constant, fold.test, fold.train, protocol, 3).placement, 1).tolist())
    assert found == [
        [1 / 2, 1 / 2, 1 / 2],
        [0.0, 1.0, 1.0],
    ]  # each saw two of the four items; item 5, here of code 3, is not trained on


@pytest.mark.parametrize("cells", [1, 10, 60])
def test_chunks_give_what_one_piece_gives(cells: int) -> None:
    protocol = Protocol(LeaveOneOut(), SampledRanking(7))
    log = planted()
    fold = folds(log, protocol)[0]
    fold = type(fold)(fold.train, None, fold.test.take(np.arange(0, len(fold.test), 9)))
    recommender = ItemKNN()
    recommender.fit(fold.train)
    whole = judge(recommender, fold.test, fold.train, protocol, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.metrics.ranked_lists._CELLS", cells * log.items // 4)
        parts = judge(recommender, fold.test, fold.train, protocol, 5)
    np.testing.assert_array_equal(whole.top, parts.top)
    for name in ("row", "above", "tied", "tied_truth", "n_truth"):
        np.testing.assert_array_equal(getattr(whole.placement, name), getattr(parts.placement, name))


def test_samples_by_popularity_prefer_what_is_popular_and_draw_only_that() -> None:
    log = planted()
    protocol = Protocol(LeaveOneOut(), SampledRanking(5, "popularity"))
    fold = folds(log, protocol)[0]
    train = fold.train.take(fold.train.item >= 6)
    drawn = judge_module.sampled_competitors(fold.test, train, protocol.candidates, 0)  # type: ignore[arg-type]
    count = np.bincount(drawn[drawn >= 0], minlength=log.items)
    assert not count[:6].any()
    assert count[-12:].sum() > 2 * count[6:18].sum()
    np.testing.assert_array_equal(drawn, judge_module.sampled_competitors(fold.test, train, protocol.candidates, 0))  # type: ignore[arg-type]
    assert not np.array_equal(drawn, judge_module.sampled_competitors(fold.test, train, protocol.candidates, 1))  # type: ignore[arg-type]
