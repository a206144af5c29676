"""Candidates of many questions with the scores of every retriever: the training data of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from models.families.neighbours.table import Neighbours
from models.families.neighbours.top_k_per_row import top_k_per_row
from models.metrics.ranking import Ints, Numbers, top_columns
from models.questions.anchors import Anchors, Scorer, allowed

_BEST: Final = 40
"""Items of each retriever that go into a pool; NDCG@10 sees the first ten."""
_CELLS: Final = 8_000_000
"""Scores of each model held at a time."""


@dataclass(frozen=True)
class Pool:
    """P candidates of each of A questions, and their scores by each of W retrievers.

    Attributes:
        items: int64 [A, P] catalogue columns, each at most once in a row; -1 where there are fewer.
        scores: float32 [A, P, W]: the retrieval model, the logarithms of recent and of all popularity, each factor model, then each
            table with each decay.
        factors: how many factor models there are.
    """

    items: Ints
    scores: npt.NDArray[np.float32]
    factors: int = 0

    retrieval: ClassVar[int] = 0
    recent: ClassVar[int] = 1
    events: ClassVar[int] = 2
    popularity: ClassVar[slice] = slice(1, 3)

    @property
    def factor_models(self) -> slice:
        """Columns of the factor models."""
        return slice(3, 3 + self.factors)

    @property
    def tables(self) -> slice:
        """Columns of the tables."""
        return slice(3 + self.factors, None)

    @property
    def width(self) -> int:
        """W."""
        return self.scores.shape[2]

    def take(self, chosen: Ints) -> Pool:
        """Return the pools of some questions."""
        return replace(self, items=self.items[chosen], scores=self.scores[chosen])


def build_pool(
    anchors: Anchors,
    retrieval: Scorer,
    recent: Ints,
    tables: Mapping[str, Neighbours],
    decays: Sequence[float],
    logs: npt.NDArray[np.float32],
    factors: Sequence[Scorer] = (),
) -> Pool:
    """Put together the best items of each retriever; what must not be recommended is not among them.

    Args:
        anchors: A questions over N items.
        retrieval: the retrieval model.
        recent: [A, L] recent items, as ``Neighbours.scores`` reads them.
        tables: the tables of neighbours.
        decays: the decays that each is used with.
        logs: float32 [N, 2] logarithms of popularity.
        factors: the factor models; they are asked for the numbers of anchors, not for their rows.
    """
    shares = [np.power(np.float32(decay), np.arange(recent.shape[1], dtype=np.float32)) for decay in decays]
    step = max(1, _CELLS // anchors.items)
    parts = []
    for begin in range(0, len(anchors), step):
        rows = np.arange(begin, min(begin + step, len(anchors)))
        dense: list[Numbers] = [np.asarray(retrieval(anchors.row[rows]), np.float32)]
        dense += [np.broadcast_to(logs[:, column], dense[0].shape) for column in range(logs.shape[1])]
        dense += [np.asarray(model(rows), np.float32) for model in factors]
        parts.append(_part(anchors.take(rows), dense, recent[rows], [(t, s) for t in tables.values() for s in shares]))
    return replace(joined(parts), factors=len(factors))


def joined(pools: Sequence[Pool]) -> Pool:
    """Return the pools of several questions as one, of the same retrievers in each."""
    return replace(
        pools[0], items=stacked([pool.items for pool in pools], -1), scores=stacked([pool.scores for pool in pools], 0)
    )


def stacked(parts: Sequence[npt.NDArray[Any]], filler: int) -> npt.NDArray[Any]:
    """Return arrays [a, P, ...] one above the other, each as wide as the widest by ``filler`` behind it."""
    most = max(part.shape[1] for part in parts)
    return np.concatenate([_widened(part, most, filler) for part in parts])


def _part(
    anchors: Anchors, dense: Sequence[Numbers], recent: Ints, tables: Sequence[tuple[Neighbours, npt.NDArray[np.float32]]]
) -> Pool:
    sparse = [table.spoken_for(recent, share) for table, share in tables]
    hidden = _marked(anchors)
    best = [top_columns(allowed(scores, anchors), _BEST) for scores in dense]
    for each in sparse:
        fresh = top_k_per_row((each - each.multiply(hidden)).tocsr(), _BEST)
        best.append(Neighbours.from_matrix(fresh, _BEST).columns.astype(np.int64))
    items = _distinct(np.concatenate(best, axis=1))
    row, column = np.repeat(np.arange(len(items)), items.shape[1]), np.maximum(items, 0).ravel()
    values = [np.take_along_axis(scores, np.maximum(items, 0), axis=1) for scores in dense]
    values += [np.asarray(each[row, column], np.float32).reshape(items.shape) for each in sparse]
    return Pool(items, np.stack(values, axis=2).astype(np.float32))


def _distinct(items: Ints) -> Ints:
    """Return each row's items once, ascending, -1 behind them; as wide as the longest row."""
    ordered = np.sort(items, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = -1
    front = np.argsort(ordered < 0, axis=1, kind="stable")
    width = max(1, int((ordered >= 0).sum(axis=1).max(initial=0)))
    return np.take_along_axis(ordered, front, axis=1)[:, :width]


def _widened(values: npt.NDArray[Any], width: int, filler: int) -> npt.NDArray[Any]:
    missing = [(0, 0), (0, width - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, missing, constant_values=filler)


def _marked(anchors: Anchors) -> Any:
    """Return a ``scipy.sparse.csr_matrix`` [A, N] with 1 for what must not be recommended."""
    from scipy.sparse import csr_matrix

    places = (anchors.hidden_row, anchors.hidden_column)
    return csr_matrix((np.ones(len(places[0]), np.float32), places), shape=(len(anchors), anchors.items))
