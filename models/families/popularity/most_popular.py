"""Most popular: the same list for everybody, by number of interactions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.families.recommender import Recommender, Scores
from models.questions.interactions import Floats, Interactions, Queries


def item_counts(interactions: Interactions) -> Floats:
    """Return [items] how many interactions each item has."""
    return np.bincount(interactions.item, minlength=interactions.items).astype(np.float64)


@dataclass
class MostPopular(Recommender):
    """Scores each item by its number of training interactions: s(i) = n(i)."""

    _count: Floats = field(init=False, repr=False)
    """[items]"""

    @property
    def name(self) -> str:
        """``most_popular``."""
        return "most_popular"

    def fit(self, interactions: Interactions) -> None:
        """Count."""
        self._count = item_counts(interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64, all rows alike."""
        return np.tile(self._count, (len(queries), 1))
