"""Item kNN: items with similar shoppers to those of the history."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from models.families.kept import Arrays, Keepable
from models.families.neighbours.blocks import in_blocks
from models.families.neighbours.top_k_per_row import top_k_per_row
from models.families.parameters import require_not_negative, require_positive
from models.families.popularity.recently_popular import DAY
from models.families.popularity_order import PopularityOrder
from models.families.recommender import ItemToItem, Scores
from models.questions.interactions import Floats, Interactions, Queries

Similarity = Literal["cosine", "jaccard", "lift"]

_KINDS: Final = ("cosine", "jaccard", "lift")
"""In the order in which the compiled loop numbers them."""


@dataclass
class ItemKNN(ItemToItem, Keepable):
    """Item-based nearest neighbours (Deshpande and Karypis, TOIS 2004, https://doi.org/10.1145/963770.963776).

    With c(i) the users of item i and c(i, j) those of both, two items are as similar as

        cosine   c(i, j) / (sqrt(c(i) c(j)) + h)
        jaccard  c(i, j) / (c(i) + c(j) - c(i, j) + h)
        lift     c(i, j) / (c(i) c(j) + h)

    with shrinkage h, which holds back pairs that few users speak for. Each item keeps its k nearest, and those exactly as near as the
    k-th. A history scores s(j) = sum over its items i of a(i) sim(i, j): a(i) is 1, or with a half-life T, a sum over the history's
    interactions with i of 2^-(t0 - t) / T, where t0 is the instant of the last one. Equal scores are ordered by popularity.

    Attributes:
        neighbours: k; None keeps all.
        similarity: ``cosine``, ``jaccard`` or ``lift``.
        shrinkage: h.
        half_life_days: T; None for no decay.
        weighted: multiply what the history says of an item by the mean weight of the same user's training interactions with it.
        unit: what two items are in together, all that a ``user`` did or a ``session``.
        title: the name in tables.
    """

    neighbours: int | None = 50
    similarity: Similarity = "cosine"
    shrinkage: float = 10.0
    half_life_days: float | None = None
    weighted: bool = False
    unit: Literal["user", "session"] = "user"
    title: str = "item_knn"
    _similar: Any = field(init=False, repr=False)
    """[items, items] similarities, ``scipy.sparse.csr_matrix``; row i holds the neighbours of i."""
    _weight: Any = field(init=False, repr=False)
    """[users, items] mean weight, ``scipy.sparse.csr_matrix``; None where weights do not matter."""
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.title, neighbours=self.neighbours, half_life_days=self.half_life_days)
        require_not_negative(self.title, shrinkage=self.shrinkage)

    @staticmethod
    def sar() -> ItemKNN:
        """Return the setting that is the smart adaptive recommendations algorithm of the Microsoft recommenders repository.

        Jaccard similarity of all pairs, a half-life of 30 days, and weights as affinities
        (https://github.com/recommenders-team/recommenders/blob/main/examples/02_model_collaborative_filtering/sar_deep_dive.ipynb).
        """
        return ItemKNN(None, "jaccard", 0.0, 30.0, weighted=True, title="sar")

    @property
    def name(self) -> str:
        """The ``title``."""
        return self.title

    def fit(self, interactions: Interactions) -> None:
        """Count pairs, some items at a time and each in one thread; how many run at a time changes no bit."""
        from models.families.neighbours.pair_loops import nearest

        together = _together(interactions, self.unit)
        by_item = together.tocsc()
        most = interactions.items if self.neighbours is None else self.neighbours
        counted = (by_item.indptr, by_item.indices, together.indptr, together.indices)
        wanted = (_KINDS.index(self.similarity), float(self.shrinkage), most)
        self._similar = in_blocks(
            self.name, interactions.items, lambda begin, end, *into: int(nearest(begin, end, *counted, *wanted, *into))
        )
        self._counted(interactions)

    def learnt(self) -> Arrays:
        """Return the similarities."""
        return {"starts": self._similar.indptr, "columns": self._similar.indices, "values": self._similar.data}

    def recall(self, learnt: Arrays, interactions: Interactions) -> None:
        """Take the similarities as they are."""
        from scipy.sparse import csr_matrix

        parts = (learnt["values"], learnt["columns"], learnt["starts"])
        self._similar = csr_matrix(parts, shape=(interactions.items, interactions.items))
        self._counted(interactions)

    def _counted(self, interactions: Interactions) -> None:
        self._weight = _mean_weight(interactions) if self.weighted else None
        self._popularity = PopularityOrder.of(interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64, 0 or above."""
        return self._popularity.break_ties((self._affinity(queries) @ self._similar).toarray(), overwrite=True)

    def similarities(self, most: int) -> Any:
        """Return the similarities of the nearest items; see the interface."""
        return top_k_per_row(self._similar, most)

    def _affinity(self, queries: Queries) -> Any:
        """Return a(i) of each question as a ``scipy.sparse.csr_matrix`` [q, items]."""
        from scipy.sparse import csr_matrix

        items = self._similar.shape[0]
        if self.half_life_days is None and self._weight is None:
            return queries.matrix(items)
        value = np.ones(len(queries.history))
        if self.half_life_days is not None:
            newest = queries.times[np.maximum(queries.starts[1:] - 1, 0)][queries.rows] if len(value) else queries.times
            value *= np.exp2(-(newest - queries.times) / (self.half_life_days * DAY))
        if self._weight is not None:
            value *= _looked_up(self._weight, queries)
        result = csr_matrix((value, queries.history.copy(), queries.starts.copy()), shape=(len(queries), items))
        result.sum_duplicates()
        return result


def _together(interactions: Interactions, unit: str) -> Any:
    """Return a binary ``scipy.sparse.csr_matrix`` [users or sessions, items]."""
    from scipy.sparse import csr_matrix

    if unit == "user":
        return interactions.matrix()
    ones = np.ones(len(interactions))
    shape = (int(interactions.session.max()) + 1, interactions.items)
    result = csr_matrix((ones, (interactions.session, interactions.item)), shape=shape)
    result.sum_duplicates()
    result.data[:] = 1.0
    return result


def _mean_weight(interactions: Interactions) -> Any:
    result = interactions.matrix(weighted=True)
    from scipy.sparse import csr_matrix

    ones = np.ones(len(interactions))
    times = csr_matrix((ones, (interactions.user, interactions.item)), shape=result.shape)
    times.sum_duplicates()
    result.sort_indices()
    times.sort_indices()
    result.data /= times.data
    return result


def _looked_up(weight: Any, queries: Queries) -> Floats:
    """Return [h] the weight of each item of a history to its asker, 1 where training knows none."""
    user = queries.user[queries.rows]
    known = np.flatnonzero(user >= 0)
    result = np.ones(len(user))
    if len(known):
        found = np.asarray(weight[user[known], queries.history[known]]).ravel()
        result[known] = np.where(found > 0, found, 1.0)
    return result
