"""A linear model from the items of a history to all items, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import UsageError
from models.families.neighbours.strongest import strongest
from models.families.parameters import require_positive
from models.families.popularity.most_popular import item_counts
from models.families.popularity_order import PopularityOrder
from models.families.recommender import ItemToItem, Scores
from models.questions.interactions import Floats, Interactions, Ints, Queries

_GIB: Final = 2**30
_BLOCK: Final = 1024
"""Items handled at a time."""
_BYTES: Final = 12
"""Bytes held for each pair of items: the matrix that is inverted (float64), and the weights (float32)."""


@dataclass
class EASE(ItemToItem):
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
    _weights: npt.NDArray[np.float32] = field(init=False, repr=False)
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
        self._require_memory(len(self._kept))
        self._items = interactions.items
        self._weights = _weights(_gram(interactions.matrix()[:, self._kept]), self.l2)
        self._popularity = PopularityOrder.of(interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64."""
        result = np.zeros((len(queries), self._items), np.float32)
        history = queries.matrix(self._items)[:, self._kept].astype(np.float32)
        result[:, self._kept] = (
            history @ self._weights
        )  # sparse times dense goes row by row, so a row does not depend on the others
        return self._popularity.break_ties(result)

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
        return strongest(csr_matrix((values.ravel(), self._kept[places.ravel()], starts), shape), kept)

    def _require_memory(self, items: int) -> None:
        needed = items**2 * _BYTES / _GIB
        if needed > self.memory_gib:
            most = int((self.memory_gib * _GIB / _BYTES) ** 0.5)
            raise UsageError(
                f"ease: {items} items need {needed:.1f} GiB, more than memory_gib = {self.memory_gib:g}.",
                f"Set max_items to at most {most} to learn the most popular items only, or raise memory_gib.",
            )


def _gram(history: Any) -> Floats:
    """Return X'X [kept, kept] in Fortran order, filled by blocks so that no sparse copy of it is ever whole."""
    items = history.shape[1]
    gram = np.zeros((items, items), order="F")
    columns = history.tocsc()
    for begin in range(0, items, _BLOCK):
        gram[:, begin : begin + _BLOCK] = (history.T @ columns[:, begin : begin + _BLOCK]).toarray()
    return gram


def _weights(gram: Floats, l2: float) -> npt.NDArray[np.float32]:
    """Return B from X'X, which is overwritten.

    The inverse is taken in float64. As float32 the weights take half the memory, and those that differ by rounding only become equal.
    """
    from scipy.linalg import lapack

    gram[np.diag_indices_from(gram)] += l2
    factor, failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
    assert not failed, "X'X + l2 I is positive definite for l2 > 0"
    inverse, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    assert not failed, "the Cholesky factor has no zero on its diagonal"
    weights = np.empty(inverse.shape, np.float32)
    diagonal = np.diagonal(inverse)
    for begin in range(0, len(inverse), _BLOCK):  # LAPACK fills the lower half only
        rows = slice(begin, begin + _BLOCK)
        square = np.tril(inverse[rows, rows])
        weights[rows, rows] = (square + np.tril(square, -1).T) / -diagonal[rows]
        weights[begin + _BLOCK :, rows] = inverse[begin + _BLOCK :, rows] / -diagonal[rows]
        weights[rows, begin + _BLOCK :] = inverse[begin + _BLOCK :, rows].T / -diagonal[begin + _BLOCK :]
    np.fill_diagonal(weights, 0.0)
    return weights
