"""Items to tell the positive from beside the other items of its batch: drawn uniformly, or among those that look like it.

In-batch negatives turn up as often as they are bought, so the long tail is seldom one of them; see Yang et al., "Mixed negative sampling
for learning two-tower neural networks in recommendations", WWW 2020 companion, https://doi.org/10.1145/3366424.3386195. And most of them
are told from the positive at once, so little is learnt from them; see Xiong et al., "Approximate nearest neighbor negative contrastive
learning for dense text retrieval", ICLR 2021, https://arxiv.org/abs/2007.00808.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from models.training.tables import FIRST_ID, Array

NEAREST: Final = (10, 100)
"""Places among the nearest items that hard negatives are drawn from: the very nearest are too often what the shopper wants as well."""
POOL: Final = 20_000
"""Items, drawn anew each time, among which the nearest are looked for; bounds the time."""
_CELLS: Final = 20_000_000
"""Similarities held at a time."""


class UniformRows:
    """Draws items, each of those that the training examples have as a target with the same probability.

    An item comes with the columns of one of its own training examples, drawn at random, and so as it was before the anchor of that
    example. Nothing from after the training split is read, the state at its end that the validation catalogue holds included. Drawing
    among an item's own examples, rather than taking its last, gives negatives and positives states of the same times: of two states of
    an item, the later one has the greater counts, and would be known as the negative by them.

    Args:
        item_ids: ``[N]`` target of each training example; ids that are not one item's are not drawn.
    """

    def __init__(self, item_ids: Array) -> None:
        known = np.flatnonzero(item_ids >= FIRST_ID)
        self._rows = known[np.argsort(item_ids[known], kind="stable")]
        self._ids, self._first, self._count = np.unique(item_ids[self._rows], return_index=True, return_counts=True)
        self.items = len(self._ids)
        """How many items there are to draw."""

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        """Return rows of the training examples, of ``count`` different items, or of all where there are no more; int64 ``[R]``."""
        if not count:
            return np.zeros(0, dtype=np.int64)
        drawn = rng.choice(self.items, min(count, self.items), replace=False)
        rows: Array = self._rows[self._first[drawn] + rng.integers(self._count[drawn])]
        return rows

    def one_each(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the items that can be drawn, at most ``POOL`` of them, and a row of each; int64 ``[P]`` twice."""
        drawn = np.sort(rng.choice(self.items, min(POOL, self.items), replace=False))
        rows = self._rows[self._first[drawn] + rng.integers(self._count[drawn])]
        return self._ids[drawn], rows


class HardRows:
    """Draws items that the model itself takes for like the positives, each with the columns of one of its own training examples.

    Which items are alike is looked up anew from time to time (``mine``), as the model learns.

    Args:
        uniform: the items that can be drawn.
    """

    def __init__(self, uniform: UniformRows) -> None:
        self._uniform = uniform
        self._ids = self._rows = np.zeros(0, dtype=np.int64)
        self._nearest = np.zeros((0, 0), dtype=np.int64)

    def mine(self, encode: Callable[[Array], Array], rng: np.random.Generator) -> None:
        """Find the nearest of each item.

        Args:
            encode: rows of the training examples ``[P]`` -> item vectors ``[P, D]``.
            rng: draws the pool.
        """
        if not self._uniform.items:
            return
        self._ids, self._rows = self._uniform.one_each(rng)
        vectors = encode(self._rows)
        first, last = (min(place, len(vectors)) for place in NEAREST)
        step = max(1, _CELLS // max(1, len(vectors)))
        parts = []
        for begin in range(0, len(vectors), step):
            alike = vectors[begin : begin + step] @ vectors.T
            alike[np.arange(len(alike)), begin + np.arange(len(alike))] = np.inf  # an item is the nearest to itself
            near = np.argpartition(-alike, last - 1, axis=1)[:, :last]
            near = np.take_along_axis(near, np.argsort(-np.take_along_axis(alike, near, axis=1), axis=1, kind="stable"), axis=1)
            parts.append(near[:, min(first, last - 1) :])
        self._nearest = np.concatenate(parts)

    def draw(self, targets: Array, count: int, rng: np.random.Generator) -> Array:
        """Return rows of the training examples, of items like ``count`` of the targets; int64 ``[R]``, R at most ``count``.

        Args:
            targets: item ids ``[B]``; those out of the pool have no like.
            count: how many are wanted.
            rng: draws.
        """
        if not len(self._ids):
            return self._rows
        place = np.searchsorted(self._ids, targets)
        known = np.flatnonzero(self._ids[np.minimum(place, len(self._ids) - 1)] == targets)
        chosen = place[rng.permutation(known)[:count]]
        rows: Array = self._rows[self._nearest[chosen, rng.integers(self._nearest.shape[1], size=len(chosen))]]
        return rows
