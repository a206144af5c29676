"""A Markov chain: the next item after the last one, by counting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.families.parameters import require_positive
from models.families.popularity.most_popular import item_counts
from models.families.popularity_order import PopularityOrder
from models.families.recommender import Recommender, Scores
from models.questions.interactions import Floats, Interactions, Queries


@dataclass
class MarkovNextItem(Recommender):
    """First-order Markov chain over the items of a session, smoothed with popularity.

    With n(i, j) how often j follows i immediately within a session, n(i) the sum over j, and p(j) the popularity of j:

        s(j) = (n(i, j) + m p(j)) / (n(i) + m),  i the last item of the history,

    the Dirichlet-smoothed probability of j (MacKay and Peto, Natural Language Engineering 1995, https://doi.org/10.1017/S1351324900000218):
    an item that little is known of, and an empty history, back off to popularity. Equal scores are ordered by it.

    Attributes:
        prior: m, how many transitions the popularity counts for.
    """

    prior: float = 1.0
    _follows: Any = field(init=False, repr=False)
    """[items, items] n(i, j), ``scipy.sparse.csr_matrix``."""
    _leaving: Floats = field(init=False, repr=False)
    """[items] n(i)"""
    _overall: Floats = field(init=False, repr=False)
    """[items] p(j)"""
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.name, prior=self.prior)

    @property
    def name(self) -> str:
        """``markov_next_item``."""
        return "markov_next_item"

    def fit(self, interactions: Interactions) -> None:
        """Count transitions within sessions."""
        from scipy.sparse import csr_matrix

        order = np.lexsort((np.arange(len(interactions)), interactions.time, interactions.session))
        item, session = interactions.item[order], interactions.session[order]
        within = np.flatnonzero(session[1:] == session[:-1])
        shape = (interactions.items, interactions.items)
        self._follows = csr_matrix((np.ones(len(within)), (item[within], item[within + 1])), shape=shape)
        self._follows.sum_duplicates()
        self._leaving = np.bincount(item[within], minlength=interactions.items).astype(np.float64)
        count = item_counts(interactions)
        self._overall = count / count.sum()
        self._popularity = PopularityOrder.of_counts(count)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64; each row is a distribution."""
        last = queries.last(1)[:, 0]
        result = np.tile(self.prior * self._overall, (len(queries), 1))
        known = np.flatnonzero(last >= 0)
        result[known] += self._follows[last[known]].toarray()
        result /= self.prior + np.where(last >= 0, self._leaving[last], 0.0)[:, None]
        return self._popularity.break_ties(result, overwrite=True)
