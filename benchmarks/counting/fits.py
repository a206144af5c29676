"""What is measured of models that learn by counting: each in a process of its own, ours and the peer's on one log."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from benchmarks.encoding.child import Stages
from models.families.neighbours.sequential_rules import SequentialRules
from models.families.recommender import Recommender
from models.families.registry import VSKNN, ItemKNN
from models.questions.interactions import Interactions, Queries, from_events

COLUMNS: Final = ("user_id", "item_id", "timestamp", "session_id")
NEIGHBOURS: Final = 50
_WARM: Final = 200
"""Interactions that a model learns from before it is measured: what is compiled once is no part of the work."""
_HISTORY: Final = 1_000
"""Interactions of a history at most."""

OURS: Final[dict[str, Callable[[], Recommender]]] = {
    "item kNN, cosine": lambda: ItemKNN(NEIGHBOURS, "cosine", 0.0),
    "item kNN, our default": ItemKNN,
    "item kNN, jaccard": lambda: ItemKNN(NEIGHBOURS, "jaccard", 0.0),
    "sequential rules": SequentialRules,
    "V-SkNN": VSKNN,
}


def ours(path: str, model: str, questions: int) -> Stages:
    """Fit a model of ``OURS``, and ask it."""
    log = read(Path(path))
    warm = log.take(np.arange(min(_WARM, len(log))))
    recommender, asked = OURS[model](), ask(log, questions)
    first = OURS[model]()
    first.fit(warm)
    first.scores(asked.take(np.arange(1)))
    yield "fit", lambda: recommender.fit(log)
    yield "ask", lambda: _ask(recommender, asked)
    yield "held", lambda: _nearest(recommender._similar) if isinstance(recommender, ItemKNN) else []


def peer(path: str) -> Stages:
    """Fit the library's cosine neighbours, in all threads; the item itself is one of its neighbours, so it gets one more."""
    from implicit.nearest_neighbours import CosineRecommender

    matrix = read(Path(path)).matrix()
    CosineRecommender(NEIGHBOURS + 1).fit(matrix[:_WARM], show_progress=False)
    model = CosineRecommender(NEIGHBOURS + 1)
    yield "fit", lambda: model.fit(matrix, show_progress=False)

    def others() -> list[float]:
        similar = model.similarity.tolil()
        similar.setdiag(0.0)
        return _nearest(similar.tocsr())

    yield "held", others


def read(path: Path) -> Interactions:
    """Return the events of a log as interactions."""
    return from_events(pl.read_parquet(path, columns=list(COLUMNS)))


def ask(log: Interactions, questions: int) -> Queries:
    """Return questions of shoppers spread over the log, each with all that the shopper did."""
    users = np.linspace(0, log.users - 1, min(questions, log.users)).astype(np.int64)
    ends = log.starts[users + 1]
    lengths = np.minimum(ends - log.starts[users], _HISTORY)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.repeat(ends - lengths - starts[:-1], lengths) + np.arange(starts[-1])
    asker = np.repeat(np.arange(len(users)), lengths)
    running = np.bincount(asker[log.session[places] == log.session[ends - 1][asker]], minlength=len(users)).astype(np.int64)
    now = np.full(len(users), int(log.time.max()) + 1)
    return Queries(users, now, starts, log.item[places], log.time[places], running)


def _ask(recommender: Recommender, asked: Queries) -> float:
    """Ask 100 questions at a time, as evaluation does; return the seconds that it took."""
    started = time.perf_counter()
    for begin in range(0, len(asked), 100):
        recommender.scores(asked.take(np.arange(begin, min(begin + 100, len(asked)))))
    return time.perf_counter() - started


def _nearest(similar: Any) -> list[float]:
    """Return the sum of each row's greatest similarities, which no choice among equally near items changes."""
    dense = np.zeros((similar.shape[0], NEIGHBOURS))
    for row in range(similar.shape[0]):
        values = np.sort(similar.data[similar.indptr[row] : similar.indptr[row + 1]])[::-1][:NEIGHBOURS]
        dense[row, : len(values)] = values
    result: list[float] = dense.sum(axis=1).tolist()
    return result
