"""A linear model from the items of a history to all items, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import UsageError
from models.families.kept import Arrays, Keepable
from models.families.neighbours.reconstruction import Weights, bytes_needed, reconstruction
from models.families.neighbours.top_k_per_row import top_k_per_row
from models.families.parameters import require_positive
from models.families.popularity.most_popular import item_counts
from models.families.popularity_order import PopularityOrder
from models.families.recommender import ItemToItem, Scores
from models.questions.interactions import Interactions, Ints, Queries

_GIB: Final = 2**30
_BLOCK: Final = 1024
"""Items handled at a time."""


@dataclass
class EASE(ItemToItem, Keepable):
    """Embarrassingly shallow autoencoder (Steck, WWW 2019, https://doi.org/10.1145/3308558.3313710).

    With X [users, items] the binary interactions and P = (X'X + l2 I)^-1, the weights are B(i, j) = -P(i, j) / P(j, j) and B(j, j) = 0:
    the least-squares reconstruction of X by XB with an L2 penalty and no item explaining itself. A history x scores s = xB.

    The weights are a dense [items, items] matrix, so the number of items is limited; items that are left out score 0. Equal scores are
    ordered by popularity.

    Attributes:
        l2: penalty, in interactions.
        max_items: learn the most popular ones only (of equal ones those of lower code); None for all that training holds.
        memory_gib: refuse to learn what needs more memory, in GiB.
    """

    l2: float = 250.0
    max_items: int | None = None
    memory_gib: float = 8.0
    _kept: Ints = field(init=False, repr=False)
    """[kept] item codes, ascending."""
    _weights: Weights = field(init=False, repr=False)
    """[kept, kept]"""
    _items: int = field(init=False, repr=False)
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.name, l2=self.l2, max_items=self.max_items, memory_gib=self.memory_gib)

    @property
    def name(self) -> str:
        """``ease``."""
        return "ease"

    def fit(self, interactions: Interactions) -> None:
        """Solve.

        Raises:
            UsageError: if the items need more than ``memory_gib``.
        """
        count = item_counts(interactions)
        popular = np.argsort(-count, kind="stable")[: np.count_nonzero(count)]
        self._kept = np.sort(popular[: self.max_items]).astype(np.int64)
        history = interactions.matrix()[:, self._kept]
        self._require_memory(np.count_nonzero(np.diff(history.indptr)), len(self._kept))
        self._take(reconstruction(history, self.l2, self.name), interactions)

    def parameters(self, interactions: Interactions) -> dict[str, Any]:
        """Return the penalty and how many items are learnt: a limit that there are fewer items than decides nothing."""
        items = np.count_nonzero(item_counts(interactions))
        return {"l2": self.l2, "items": items if self.max_items is None else min(items, self.max_items)}

    def learnt(self) -> Arrays:
        """Return the weights."""
        return {"kept": self._kept, "weights": self._weights}

    def recall(self, learnt: Arrays, interactions: Interactions) -> None:
        """Take the weights as they are."""
        self._kept = learnt["kept"]
        self._take(learnt["weights"], interactions)

    def _take(self, weights: Weights, interactions: Interactions) -> None:
        self._weights, self._items = weights, interactions.items
        self._popularity = PopularityOrder.of(interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64."""
        result = np.zeros((len(queries), self._items), np.float32)
        history = queries.matrix(self._items)[:, self._kept].astype(np.float32)
        result[:, self._kept] = (
            history @ self._weights
        )  # sparse times dense goes row by row, so a row does not depend on the others
        return self._popularity.break_ties(result, overwrite=True)

    def similarities(self, most: int) -> Any:
        """Return the greatest weights above 0; see the interface."""
        from scipy.sparse import csr_matrix

        kept = min(most, len(self._kept))
        parts = [self._weights[begin : begin + _BLOCK] for begin in range(0, len(self._kept), _BLOCK)]
        places = np.concatenate([np.argpartition(-part, kept - 1, axis=1)[:, :kept] for part in parts])
        lengths = np.zeros(self._items, np.int64)  # items that were left out have empty rows
        lengths[self._kept] = kept
        starts = np.concatenate([[0], np.cumsum(lengths)])
        values = np.take_along_axis(self._weights, places, axis=1)
        shape = (self._items, self._items)
        return top_k_per_row(csr_matrix((values.ravel(), self._kept[places.ravel()], starts), shape), kept)

    def _require_memory(self, users: int, items: int) -> None:
        needed = bytes_needed(users, items) / _GIB
        if needed > self.memory_gib:
            most = int((self.memory_gib * _GIB / bytes_needed(1, 1)) ** 0.5)
            raise UsageError(
                f"ease: {items} items need {needed:.1f} GiB, more than memory_gib = {self.memory_gib:g}.",
                f"Set max_items to at most {most} to learn the most popular items only, or raise memory_gib.",
            )
