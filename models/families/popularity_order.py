"""Popularity as the second key of a ranking: what a model cannot tell apart is ordered by how often it was turned to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.families.popularity.most_popular import item_counts
from models.families.recommender import Scores
from models.questions.interactions import Floats, Interactions, Ints

_BELOW_NORMAL: Final = int(np.array([np.finfo(np.float64).tiny]).view(np.int64)[0]) - 1
"""Bits of the greatest number that is left out of the numbering: subnormal ones count as 0, for some processors read them so."""


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

    def break_ties(self, scores: Scores) -> Floats:
        """Order equal scores of a list by popularity, and change no other order.

        Scores are numbered as float64 counts them, one number to the next. Along the ascending (score, rank) pairs each different pair gets
        its score's own number, or the one after its predecessor's where that is greater. So the result is the lexicographic order, exactly
        and whatever the gaps between scores are, and a score moves by no more units in its last place than there are pairs in its way.

        Args:
            scores: [q, items], finite.

        Returns:
            [q, items], a new array; equal where score and rank are.
        """
        result = np.array(scores, np.float64)
        rank = self.rank[self.order]
        for row in result:
            row[self.order] = _broken(row[self.order], rank)
        return result


def _broken(scores: Floats, rank: Ints) -> Floats:
    """Return what stands for the scores of one list, whose items come by ascending rank."""
    number = _numbered(scores)
    signs = [np.flatnonzero(number < 0), np.flatnonzero(number == 0), np.flatnonzero(number > 0)]
    floor = np.iinfo(np.int64).min
    for sign, places in enumerate(signs):
        if not len(places):
            continue
        if sign == 1:  # most of the list, where little is known: needs no sorting, for it comes by rank
            number[places] = max(floor, 0) + rank[places]
            floor = int(number[places[-1]]) + 1
            continue
        by_score = places[np.argsort(number[places], kind="stable")]
        own, level = number[by_score], rank[by_score]
        step = np.concatenate([[0], np.cumsum((np.diff(own) != 0) | (np.diff(level) != 0))])
        number[by_score] = np.maximum(np.maximum.accumulate(own - step), floor) + step
        floor = int(number[by_score[-1]]) + 1
    return _told(number)


def _numbered(values: Floats) -> Ints:
    """Return [n] integers in the order of the values, successive ones for successive normal numbers, 0 for 0."""
    magnitude = np.maximum(np.abs(values).view(np.int64) - _BELOW_NORMAL, 0)
    return np.where(values < 0, -magnitude, magnitude)


def _told(number: Ints) -> Floats:
    """Return [n] the values of ``_numbered``."""
    magnitude = np.where(number == 0, 0, np.abs(number) + _BELOW_NORMAL).view(np.float64)
    return np.where(number < 0, -magnitude, magnitude)
