"""What every recommender must satisfy, whatever it learns: one suite, inherited in a few lines by each.

To add a recommender: a subclass of ``RecommenderConformance`` with ``make``. Override ``personal`` where it gives everybody one list, and
``draws`` where it draws at random.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from evaluation.protocols.judge import judge
from evaluation.protocols.protocol import GlobalTemporal, LeaveOneOut, Protocol
from evaluation.protocols.splits import folds
from models.families.kept import Keepable, fit_or_recall, keep
from models.families.popularity.most_popular import item_counts
from models.families.recommender import Recommender, Scores
from models.families.registry import MostPopular
from models.metrics.ranking import hit_rate, ndcg
from models.questions.interactions import Interactions, Queries, from_events

KINDS, SIZE, USERS, LENGTH = 8, 6, 160, 5
HOUR = 3_600_000_000


def planted_events(seed: int = 7) -> pl.DataFrame:
    """Shoppers who walk round the items of one kind, each item followed by the next; kinds are loved unequally.

    So popularity, what goes together, and what comes next can all be learnt.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        kind = int(generator.choice(KINDS, p=np.arange(1, KINDS + 1) / (KINDS * (KINDS + 1) / 2)))
        place, moment = int(generator.integers(0, SIZE)), int(generator.integers(0, 2000)) * HOUR
        for step in range(LENGTH):
            rows.append((user, kind * SIZE + place, moment, step // 3, f"kind{kind}"))
            place, moment = (place + 1) % SIZE, moment + HOUR
    columns = ("user_id", "item_id", "timestamp", "session_id", "category")
    return pl.DataFrame(rows, schema=list(columns), orient="row")


def planted() -> Interactions:
    return from_events(planted_events())


def ask(*histories: list[int], users: list[int] | None = None, now: int = 10**18) -> Queries:
    """Questions with these histories, one event an hour up to ``now``; by strangers unless said otherwise."""
    lengths = np.array([len(history) for history in histories], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    age = np.concatenate([np.arange(length, 0, -1) for length in lengths] or [[]]).astype(np.int64)
    return Queries(
        np.array(users if users is not None else [-1] * len(histories), np.int64),
        np.full(len(histories), now, np.int64),
        starts,
        np.array([item for history in histories for item in history], np.int64),
        now - age * HOUR,
        lengths,
    )


def require_order(scores: Scores, wanted: Scores) -> None:
    """Check that [n] scores order items exactly as ``wanted`` does, ties included."""
    np.testing.assert_array_equal(np.sign(scores[:, None] - scores), np.sign(wanted[:, None] - wanted))


class Constant(Recommender):
    """Has not ranked anything: what chance gives."""

    items: int

    @property
    def name(self) -> str:
        return "constant"

    def fit(self, interactions: Interactions) -> None:
        self.items = interactions.items

    def scores(self, queries: Queries) -> Scores:
        return np.zeros((len(queries), self.items))


class RecommenderConformance:
    """Inherited by the tests of each recommender."""

    personal: ClassVar[bool] = True
    """Whether the list depends on the history, so that it must beat popularity where histories tell."""
    draws: ClassVar[bool] = False
    """Whether another seed gives other scores."""

    def make(self, seed: int = 0) -> Recommender:
        raise NotImplementedError

    def fitted(self, interactions: Interactions, seed: int = 0) -> Recommender:
        recommender = self.make(seed)
        recommender.fit(interactions)
        return recommender

    def test_scores_are_finite_and_of_the_right_shape_whoever_asks(self) -> None:
        log = planted()
        never_seen = 3
        train = log.take(log.item != never_seen)
        queries = ask([], [never_seen], [0, 1, 2], [5, 5, 5], [4, never_seen], [1], [], users=[-1, -1, -1, -1, 3, 5, 7])
        scores = self.fitted(train).scores(queries)
        assert scores.shape == (7, log.items)
        assert scores.dtype in (np.float32, np.float64)
        assert np.isfinite(scores).all()

    def test_no_questions_get_no_scores(self) -> None:
        log = planted()
        assert self.fitted(log).scores(ask()).shape == (0, log.items)

    def test_a_user_whom_training_does_not_hold_is_answered_like_a_stranger(self) -> None:
        log = planted()
        recommender = self.fitted(log.take(log.user != 9))
        history = [[0, 1], []]
        np.testing.assert_array_equal(
            recommender.scores(ask(*history, users=[9, 9])), recommender.scores(ask(*history, users=[-1, -1]))
        )

    def test_a_question_without_a_history_ranks_by_popularity(self) -> None:
        """Nobody beats a list of popular items by answering strangers with ties."""
        log, never_seen = planted(), 3
        train = log.take(log.item != never_seen)
        train = replace(train, category=np.where(np.arange(log.items) == never_seen, 0, log.category))
        popular = item_counts(train)
        assert len(np.unique(popular)) > 10
        for row in self.fitted(train).scores(ask([], [never_seen], [never_seen, never_seen])):
            require_order(row, popular)

    def test_equal_scores_are_ordered_by_popularity(self) -> None:
        log = planted()
        train = log.take((log.item >= 2) & (log.user % 5 > 0))
        popular = item_counts(train)
        queries = ask([], [7], [7, 8], [2, 20, 40], [0, 9], [45] * 3, users=[-1, -1, 4, 6, -1, 5])
        for row in self.fitted(train).scores(queries):
            assert not ((row[:, None] == row) & (popular[:, None] != popular)).any()

    def test_questions_asked_one_by_one_get_the_scores_that_they_get_together(self) -> None:
        fold = folds(planted(), Protocol(LeaveOneOut()))[0]
        recommender, queries = self.fitted(fold.train), fold.test.queries
        together = recommender.scores(queries)
        alone = [recommender.scores(queries.take(np.array([row]))) for row in range(0, len(queries), 5)]
        np.testing.assert_array_equal(np.concatenate(alone), together[::5])
        order = np.random.default_rng(0).permutation(len(queries))
        np.testing.assert_array_equal(recommender.scores(queries.take(order)), together[order])

    def test_threads_that_ask_at_a_time_get_what_one_gets(self) -> None:
        fold = folds(planted(), Protocol(LeaveOneOut()))[0]
        recommender, queries = self.fitted(fold.train), fold.test.queries
        if not recommender.shared:
            return
        parts = [queries.take(np.arange(start, len(queries), 7)) for start in range(7)] * 4
        with ThreadPoolExecutor(4) as pool:
            for found, part in zip(pool.map(recommender.scores, parts), parts, strict=True):
                np.testing.assert_array_equal(found, recommender.scores(part))

    def test_asking_changes_neither_questions_nor_training(self) -> None:
        log = planted()
        recommender, queries = self.fitted(log), ask([0, 1, 2], [7], users=[4, -1])
        before = recommender.scores(queries).copy()
        recommender.scores(queries)[:] = -1.0
        np.testing.assert_array_equal(recommender.scores(queries), before)
        np.testing.assert_array_equal(queries.history, [0, 1, 2, 7])
        np.testing.assert_array_equal(log.item, planted().item)

    def test_what_is_kept_is_recalled_for_the_same_log_and_parameters_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log, queries = planted(), ask([], [0, 1, 2], [7, 7], users=[-1, 4, 150])
        learnt, again, path = self.fitted(log), self.make(), tmp_path / "kept.npz"
        if not isinstance(learnt, Keepable):
            return
        keep(path, learnt, log)
        refitted = list[str]()
        monkeypatch.setattr(type(again), "fit", lambda model, _: refitted.append(model.name))
        fit_or_recall(path, again, log)
        assert not refitted
        np.testing.assert_array_equal(again.scores(queries), learnt.scores(queries))
        fit_or_recall(path, self.make(), log.take(log.user > 0))
        other = self.make()
        parameter = next(each for each in ("l2", "shrinkage") if hasattr(other, each))
        setattr(other, parameter, getattr(other, parameter) + 1.0)
        fit_or_recall(path, other, log)
        path.write_bytes(path.read_bytes()[:100])
        fit_or_recall(path, self.make(), log)
        assert len(refitted) == 3

    def test_fitting_twice_gives_the_same_scores(self) -> None:
        log, queries = planted(), ask([0, 1, 2], [7], [], users=[4, -1, 5])
        recommender = self.fitted(log)
        first = recommender.scores(queries)
        recommender.fit(log)
        np.testing.assert_array_equal(recommender.scores(queries), first)
        np.testing.assert_array_equal(self.fitted(log).scores(queries), first)

    def test_fitting_on_another_log_forgets_the_first(self) -> None:
        log, queries = planted(), ask([0, 1, 2], [7], [], users=[4, -1, 5])
        recommender = self.fitted(log)
        half = log.take(log.user % 2 == 0)
        recommender.fit(half)
        np.testing.assert_array_equal(recommender.scores(queries), self.fitted(half).scores(queries))

    def test_the_seed_fixes_what_is_drawn(self) -> None:
        log, queries = planted(), ask([0, 1, 2], [7], users=[4, -1])
        first, other = (self.fitted(log, seed).scores(queries) for seed in (0, 1))
        assert np.array_equal(first, other) == (not self.draws)

    def test_what_happens_after_the_question_and_outside_of_training_changes_nothing(self) -> None:
        events = planted_events()
        end = int(events["timestamp"].max())  # type: ignore[arg-type]
        later = events.sample(300, seed=0).with_columns(pl.col("timestamp") + end)
        day = Protocol(GlobalTemporal("1970-02-20", "1970-03-10"))
        short, long = (folds(from_events(log), day)[0] for log in (events, pl.concat([events, later])))
        asked = np.intersect1d(short.test.users, long.test.users)
        questions = [fold.test.queries.take(np.searchsorted(fold.test.users, asked)) for fold in (short, long)]
        assert len(asked) > 10
        np.testing.assert_array_equal(questions[0].history, questions[1].history)
        scores = [self.fitted(fold.train).scores(each) for fold, each in zip((short, long), questions, strict=True)]
        np.testing.assert_array_equal(scores[0], scores[1])

    def test_it_answers_from_a_log_of_one_interaction(self) -> None:
        log = planted()
        recommender = self.fitted(log.take(np.array([11])))
        scores = recommender.scores(ask([int(log.item[11])], [], [0]))
        assert np.isfinite(scores).all()

    def test_items_that_are_alike_in_training_score_alike(self) -> None:
        """Items without any training interaction are alike: none of them may be put before another."""
        log = planted()
        scores = self.fitted(log.take(log.item >= 6)).scores(ask([7, 8], [], users=[-1, 4]))
        alike = scores[:, :6]
        np.testing.assert_array_equal(alike, np.repeat(alike[:, :1], 6, axis=1))

    def test_it_learns_what_is_planted(self) -> None:
        protocol = Protocol(LeaveOneOut())
        fold = folds(planted(), protocol)[0]
        placed = {}
        for recommender in (self.make(), MostPopular(), Constant()):
            recommender.fit(fold.train)
            placed[recommender.name] = judge(recommender, fold.test, fold.train, protocol, 10).placement
        own = hit_rate(placed[self.make().name], 5).mean()
        chance = hit_rate(placed["constant"], 5).mean()
        assert own > 1.4 * chance
        if self.personal:
            assert own > 0.8
            assert ndcg(placed[self.make().name], 5).mean() > 2 * ndcg(placed["most_popular"], 5).mean()


def small(events: list[tuple[int, int, int]]) -> Interactions:
    """A log of (user, item, time) by hand, in code order."""
    return from_events(pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row"))


def reweighted(log: Interactions, weight: list[float]) -> Interactions:
    return replace(log, weight=np.array(weight, np.float64))
