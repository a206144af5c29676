"""Items drawn uniformly, to tell the positive from beside the other items of its batch.

In-batch negatives turn up as often as they are bought, so the long tail is seldom one of them; see Yang et al., "Mixed negative sampling
for learning two-tower neural networks in recommendations", WWW 2020 companion, https://doi.org/10.1145/3366424.3386195.
"""

from __future__ import annotations

import numpy as np

from models.data import FIRST_ID, Array


class UniformRows:
    """Draws items, each of those that the training examples have as a target with the same chance.

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
        ids, self._first, self._count = np.unique(item_ids[self._rows], return_index=True, return_counts=True)
        self.items = len(ids)
        """How many items there are to draw."""

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        """Return rows of the training examples, of ``count`` different items, or of all where there are no more; int64 ``[R]``."""
        if not count:
            return np.zeros(0, dtype=np.int64)
        drawn = rng.choice(self.items, min(count, self.items), replace=False)
        rows: Array = self._rows[self._first[drawn] + rng.integers(self._count[drawn])]
        return rows
