"""V-SkNN: similar sessions to the current one, and their other items."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from models.families.parameters import require_not_negative, require_positive
from models.families.popularity_order import PopularityOrder
from models.families.recommender import Recommender, Scores
from models.questions.interactions import Floats, Interactions, Ints, Queries


@dataclass
class VSKNN(Recommender):
    """Vector multiplication session-based nearest neighbours, V-SkNN (Ludewig and Jannach, UMUAI 2018, https://arxiv.org/abs/1803.09587).

    The x-th of the L events of the running session weighs w = x / L, a repeated item as its last event: recent ones count more. Of the
    training sessions n that share an item with it, the ``sample`` latest are compared, by

        dot     sim(n) = sum over shared items of w
        cosine  sim(n) = that sum over |w| sqrt(|n|)

    and the k most similar (of equal ones the later) are the neighbours. Each adds its similarity to its items:

        s(i) = (1 + idf log(S / S(i))) * sum over neighbours n with i of sim(n) d(n)

    with S training sessions, S(i) of them holding i, and d(n) = 1 / place, the place from the end of the running session of the latest
    event that n shares. The decay d and the weight of rare items are those of the later study by the same group (Ludewig et al., UMUAI
    2021, https://arxiv.org/abs/1910.12781); ``decay=False`` and ``idf=0`` give the form of 2018. Equal scores are ordered by popularity.

    Attributes:
        neighbours: k.
        sample: how many sessions are compared.
        similarity: ``dot`` or ``cosine``.
        decay: whether d(n) counts.
        idf: the weight of rare items.
    """

    neighbours: int = 100
    sample: int = 1000
    similarity: Literal["dot", "cosine"] = "dot"
    decay: bool = True
    idf: float = 1.0
    _item_starts: Ints = field(init=False, repr=False)
    """[items + 1] where each item's sessions begin in ``_sessions``."""
    _sessions: Ints = field(init=False, repr=False)
    """Sessions of each item, numbered from the one that ended first, ascending."""
    _session_starts: Ints = field(init=False, repr=False)
    """[sessions + 1] where each session's items begin in ``_contents``."""
    _contents: Ints = field(init=False, repr=False)
    """Distinct items of each session, ascending."""
    _rarity: Floats = field(init=False, repr=False)
    """[items] 1 + idf log(S / S(i))"""
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.name, neighbours=self.neighbours, sample=self.sample)
        require_not_negative(self.name, idf=self.idf)

    @property
    def name(self) -> str:
        """``vsknn``."""
        return "vsknn"

    def fit(self, interactions: Interactions) -> None:
        """Index the sessions by item and the items by session."""
        items = interactions.items
        session = _by_end(interactions)
        pair = np.unique(session * items + interactions.item)
        holder, self._contents = np.divmod(pair, items)
        sessions = int(holder[-1]) + 1
        self._session_starts = np.searchsorted(holder, np.arange(sessions + 1)).astype(np.int64)
        order = np.argsort(self._contents, kind="stable")
        self._sessions = holder[order]
        self._item_starts = np.searchsorted(self._contents[order], np.arange(items + 1)).astype(np.int64)
        held = np.maximum(np.diff(self._item_starts), 1)
        self._rarity = 1.0 + self.idf * np.log(sessions / held)
        self._popularity = PopularityOrder.of(interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64, 0 or above."""
        from models.families.neighbours.session_loops import add_neighbours

        result = np.zeros((len(queries), len(self._rarity)))
        index = (self._item_starts, self._sessions, self._session_starts, self._contents)
        asked = (queries.history, queries.starts[1:], queries.session_length)
        add_neighbours(*asked, *index, self.neighbours, self.sample, self.similarity == "cosine", self.decay, result)
        result *= self._rarity
        return self._popularity.break_ties(result, overwrite=True)


def _by_end(interactions: Interactions) -> Ints:
    """Return [n] the sessions numbered in the order in which they ended, 0 first; of equal ends by the old number."""
    code, inverse = np.unique(interactions.session, return_inverse=True)
    end = np.full(len(code), np.iinfo(np.int64).min)
    np.maximum.at(end, inverse, interactions.time)
    number = np.empty(len(code), np.int64)
    number[np.argsort(end, kind="stable")] = np.arange(len(code))
    result: Ints = number[inverse]
    return result
