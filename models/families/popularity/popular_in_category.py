"""Popular items in the categories of the shopper's last items."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.families.parameters import require_positive
from models.families.popularity.most_popular import item_counts
from models.families.popularity_order import PopularityOrder
from models.families.recommender import Recommender, Scores
from models.questions.interactions import Floats, Interactions, Ints, Queries


@dataclass
class PopularInCategory(Recommender):
    """Scores items by the share that their category has of the last items of the history, and by popularity.

    With p(c|h) the share of category c among the last items whose category is known, and p(i) = n(i) / n the popularity:

        s(i) = 1 + p(c(i)|h) p(i)  where that product is above 0, and p(i) elsewhere,

    so that items of the history's categories come first, and behind them, or where no category is known, the most popular ones. Equal
    scores are ordered by popularity.

    Attributes:
        last: how many items the history is looked back on.
    """

    last: int = 5
    _category: Ints = field(init=False, repr=False)
    """[items] 0 where unknown."""
    _overall: Floats = field(init=False, repr=False)
    """[items] p(i)"""
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.name, last=self.last)

    @property
    def name(self) -> str:
        """``popular_in_category``."""
        return "popular_in_category"

    def fit(self, interactions: Interactions) -> None:
        """Count."""
        count = item_counts(interactions)
        self._category, self._overall = interactions.category, count / count.sum()
        self._popularity = PopularityOrder.of_counts(count)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64 in 0 ... 2."""
        looked = queries.last(self.last)
        shown = np.where(looked >= 0, self._category[looked], 0)
        share = np.zeros((len(queries), int(self._category.max(initial=0)) + 1))
        np.add.at(share, (np.arange(len(queries))[:, None], shown), 1.0)
        share[:, 0] = 0.0
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1.0)
        product = share[:, self._category] * self._overall
        return self._popularity.break_ties(np.where(product > 0, 1.0 + product, self._overall), overwrite=True)
