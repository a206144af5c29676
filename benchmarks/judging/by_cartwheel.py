"""The problem as Cartwheel judges it: the offline judge, chunk by chunk, and its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from benchmarks.encoding.child import Stages
from benchmarks.judging.problem import Factors, Problem
from evaluation.protocols.judge import judge
from evaluation.protocols.protocol import PerUserRatio, Protocol
from evaluation.protocols.splits import Questions
from models.families.recommender import Recommender, Scores
from models.metrics import beyond_accuracy, ranking
from models.metrics.ranked_lists import Judged
from models.questions.interactions import Interactions, Queries


@dataclass
class Products(Recommender):
    """Scores items by the inner product of given factors."""

    user_factors: Factors
    item_factors: Factors

    @property
    def name(self) -> str:
        """``products``."""
        return "products"

    @property
    def shared(self) -> bool:
        """A matrix product is no matter of who else asks."""
        return True

    def fit(self, interactions: Interactions) -> None:
        """Learn nothing: the factors are given."""

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float32; see ``Recommender.scores``."""
        scores: Scores = self.user_factors[queries.user] @ self.item_factors.T
        return scores


def evaluate(path: str, users: int, cutoffs: Sequence[int]) -> Stages:
    """Rank and measure; a third stage, which is no part of the work, counts the lists on which ties leave a choice.

    Args:
        path: the problem.
        users: how many of its users are asked.
        cutoffs: k of the metrics.
    """
    problem = Problem.load(path).first(users)
    train, questions = _train(problem), _questions(problem)
    recommender = Products(problem.user_factors, problem.item_factors)
    done: list[Judged] = []

    def rank() -> None:
        done.append(judge(recommender, questions, train, Protocol(PerUserRatio()), max(cutoffs) + 1))

    def metrics() -> dict[str, float]:
        return measured(done[0], np.bincount(train.item, minlength=train.items), cutoffs)

    def ties() -> dict[str, int]:
        return tied(done[0], problem, max(cutoffs))

    return [("rank", rank), ("metrics", metrics), ("ties", ties)]


def measured(judged: Judged, interactions: ranking.Ints, cutoffs: Sequence[int]) -> dict[str, float]:
    """Return ``metric@k`` -> its mean over users."""
    items = len(interactions)
    found = {}
    for k in cutoffs:
        found[f"recall@{k}"] = ranking.recall(judged.placement, k).mean()
        found[f"precision@{k}"] = ranking.precision(judged.placement, k).mean()
        found[f"ndcg@{k}"] = ranking.ndcg(judged.placement, k).mean()
        found[f"map@{k}"] = ranking.average_precision(judged.placement, k).mean()
        found[f"mrr@{k}"] = ranking.reciprocal_rank(judged.placement, k).mean()
        found[f"hit_rate@{k}"] = ranking.hit_rate(judged.placement, k).mean()
        found[f"coverage@{k}"] = ranking.coverage(judged.top, items, k)
        found[f"novelty@{k}"] = beyond_accuracy.novelty(judged.top, interactions, k).mean()
    return {name: float(value) for name, value in found.items()}


def tied(judged: Judged, problem: Problem, k: int) -> dict[str, int]:
    """Count the lists on which ties leave a choice: in the place of a truth item, and in what is shown at all.

    Args:
        judged: whose lists are ``k + 1`` long.
        problem: what was evaluated.
        k: how many places are looked at.
    """
    placement = judged.placement
    truth = np.unique(placement.row[(placement.tied > 1) & (placement.above < k)])
    items = problem.item_factors[np.maximum(judged.top, 0)]
    scores = np.where(judged.top < 0, -np.inf, np.einsum("ud,ukd->uk", problem.user_factors, items))
    shown = ((scores[:, 1:] == scores[:, :-1]) & (judged.top[:, 1:] >= 0)).any(axis=1)
    return {"truth": len(truth), "shown": int(np.count_nonzero(shown))}


def _train(problem: Problem) -> Interactions:
    users, items = len(problem.user_factors), len(problem.item_factors)
    number = len(problem.seen_row)
    return Interactions(
        problem.seen_row,
        problem.seen_item,
        np.arange(number),
        problem.seen_row,
        np.ones(number),
        pl.int_range(users, eager=True),
        pl.int_range(items, eager=True),
        np.zeros(items, np.int64),
    )


def _questions(problem: Problem) -> Questions:
    everyone = np.arange(len(problem.user_factors))
    starts = np.searchsorted(problem.seen_row, np.arange(len(everyone) + 1)).astype(np.int64)
    number = len(problem.seen_row)
    queries = Queries(everyone, np.full(len(everyone), number), starts, problem.seen_item, np.arange(number), np.diff(starts))
    return Questions(queries, everyone, problem.truth_row, problem.truth_item, problem.seen_row, problem.seen_item)
