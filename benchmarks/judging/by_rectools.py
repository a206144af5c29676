"""The problem as RecTools judges it: its ranker over factors, which works in parallel without a matrix of scores, and its metrics.

Runs in an environment of its own: of Cartwheel it takes only the rooms that need no library but NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    CatalogCoverage,
    HitRate,
    MeanInvUserFreq,
    Precision,
    Recall,
    calc_metrics,
)
from rectools.models.rank import Distance, ImplicitRanker
from scipy.sparse import csr_matrix

from benchmarks.encoding.child import Stages
from benchmarks.judging.problem import Problem


def evaluate(path: str, users: int, cutoffs: Sequence[int]) -> Stages:
    """Rank and measure.

    Args:
        path: the problem.
        users: how many of its users are asked.
        cutoffs: k of the metrics.
    """
    problem = Problem.load(path).first(users)
    everyone = np.arange(len(problem.user_factors))
    shape = len(everyone), len(problem.item_factors)
    seen = csr_matrix((np.ones(len(problem.seen_row), np.float32), (problem.seen_row, problem.seen_item)), shape)
    truth = pd.DataFrame({Columns.User: problem.truth_row, Columns.Item: problem.truth_item})
    before = pd.DataFrame({Columns.User: problem.seen_row, Columns.Item: problem.seen_item})
    catalogue = range(shape[1])
    lists: list[pd.DataFrame] = []

    def rank() -> None:
        ranker = ImplicitRanker(Distance.DOT, problem.user_factors, problem.item_factors)
        user, item, _ = ranker.rank(everyone, max(cutoffs), filter_pairs_csr=seen)
        shown = pd.DataFrame({Columns.User: user, Columns.Item: item})
        # As RecTools' own models number the places.
        shown[Columns.Rank] = shown.groupby(Columns.User, sort=False).cumcount() + 1
        lists.append(shown)

    def metrics() -> dict[str, float]:
        found = calc_metrics(_metrics(cutoffs), lists[0], interactions=truth, prev_interactions=before, catalog=catalogue)
        return {name: float(value) for name, value in found.items()}

    return [("rank", rank), ("metrics", metrics)]


def versions() -> Stages:
    """Tell what is measured, as the result of the one stage ``versions``."""
    return [("versions", lambda: ", ".join(f"{name} {version(name)}" for name in ("rectools", "numpy", "pandas")))]


def _metrics(cutoffs: Sequence[int]) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for k in cutoffs:
        metrics |= {
            f"recall@{k}": Recall(k),
            f"precision@{k}": Precision(k),
            f"ndcg@{k}": NDCG(k, divide_by_achievable=True),
            f"map@{k}": MAP(k),
            f"mrr@{k}": MRR(k),
            f"hit_rate@{k}": HitRate(k),
            f"coverage@{k}": CatalogCoverage(k, normalize=True),
            f"novelty@{k}": MeanInvUserFreq(k),
        }
    return metrics
