"""Popularity as the second sort key of a ranking, which breaks ties of a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.families.popularity.most_popular import item_counts
from models.families.recommender import Scores
from models.questions.interactions import Floats, Interactions, Ints


@dataclass(frozen=True)
class PopularityOrder:
    """The items in order of their training interactions.

    A ranking that is left to ties is one by chance: a recommender that knows nothing of a shopper, or nothing of most items, would be
    beaten by any list of popular items, and a model that beats it has shown nothing.

    Attributes:
        rank: [items] 0 for the least popular items; items of equal counts share a rank.
        order: [items] items by rank, ascending.
    """

    rank: Ints
    order: Ints

    @staticmethod
    def of(interactions: Interactions) -> PopularityOrder:
        """Count the interactions of each item."""
        return PopularityOrder.of_counts(item_counts(interactions))

    @staticmethod
    def of_counts(counts: Floats) -> PopularityOrder:
        """Order by counts [items]."""
        rank = np.unique(counts, return_inverse=True)[1].astype(np.int64)
        return PopularityOrder(rank, np.argsort(rank, kind="stable"))

    def break_ties(self, scores: Scores, *, overwrite: bool = False) -> Floats:
        """Order equal scores of a list by popularity, and change no other order.

        Scores are numbered as float64 counts them, one number to the next. Along the ascending (score, rank) pairs each different pair gets
        its score's own number, or the one after its predecessor's where that is greater. So the result is the lexicographic order, exactly
        and whatever the gaps between scores are, and a score moves by no more units in its last place than there are pairs in its way.

        Args:
            scores: [q, items], finite.
            overwrite: whether the array of scores may be changed, which spares a copy where it holds contiguous float64.

        Returns:
            [q, items], a new array unless that one; equal where score and rank are.
        """
        from models.families.tie_loops import break_ties

        result = np.ascontiguousarray(scores, np.float64) if overwrite else np.array(scores, np.float64, order="C")
        break_ties(result.view(np.int64), self.order, self.rank[self.order])
        return result
