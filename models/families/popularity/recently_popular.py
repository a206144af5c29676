"""Recently popular: the same list for all queries at one time, by interactions in the days before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from models.families.parameters import require_positive
from models.families.popularity_order import PopularityOrder
from models.families.recommender import Recommender, Scores
from models.questions.interactions import Floats, Interactions, Ints, Queries

DAY: Final = 86_400_000_000
"""Microseconds of a day."""


@dataclass
class RecentlyPopular(Recommender):
    """Scores each item by its training interactions of the last days: s(i) = n(i, t - days ... t).

    The clock t is the moment of the question, so that nothing after it counts, even where training holds later interactions of others.
    A question after the end of training is asked at that end: the clock does not run on through days of which nothing was learnt. Equal
    counts are ordered by popularity over all of training.

    Attributes:
        days: length of the window; it begins ``days`` before the clock, inclusive.
    """

    days: float = 7.0
    _time: Ints = field(init=False, repr=False)
    """[n] ascending."""
    _item: Ints = field(init=False, repr=False)
    """[n]"""
    _items: int = field(init=False, repr=False)
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.name, days=self.days)

    @property
    def name(self) -> str:
        """``recently_popular``."""
        return "recently_popular"

    def fit(self, interactions: Interactions) -> None:
        """Put the interactions in order of time."""
        order = np.argsort(interactions.time, kind="stable")
        self._time, self._item, self._items = interactions.time[order], interactions.item[order], interactions.items
        self._popularity = PopularityOrder.of(interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64, counts but for the ties."""
        clock = np.minimum(queries.now, self._time[-1] + 1)
        begins = np.searchsorted(self._time, clock - round(self.days * DAY))
        ends = np.searchsorted(self._time, clock)
        windows, window = np.unique(np.stack([begins, ends]), axis=1, return_inverse=True)
        result = np.zeros((windows.shape[1], self._items))
        count: Floats = np.zeros(self._items)
        begin = end = 0
        for row, (new_begin, new_end) in enumerate(
            windows.T
        ):  # both ends of the window only move on, so each interaction enters and leaves once
            count += np.bincount(self._item[end:new_end], minlength=self._items)
            count -= np.bincount(self._item[begin:new_begin], minlength=self._items)
            begin, end = new_begin, new_end
            result[row] = count
        scores: Floats = self._popularity.break_ties(result, overwrite=True)[window.reshape(-1)]
        return scores
