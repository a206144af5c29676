"""Sequential rules: items that follow an item within a few steps, by counting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from models.families.neighbours.blocks import in_blocks
from models.families.neighbours.top_k_per_row import top_k_per_row
from models.families.parameters import require_not_negative, require_positive
from models.families.popularity_order import PopularityOrder
from models.families.recommender import ItemToItem, Scores
from models.questions.interactions import Interactions, Queries


@dataclass
class SequentialRules(ItemToItem):
    """Sequential rules (Ludewig and Jannach, UMUAI 2018, https://doi.org/10.1007/s11257-018-9209-6).

    Where item j follows item i after d steps of one shopper, d at most the window, the rule i -> j gains 1 / d. With w(i, j) the sum,
    and c(i) how often i occurs,

        W(i, j) = w(i, j) / ((c(i) + h) c(j)^b),  W(i, i) = 0,

    where the shrinkage h holds back items that little is known of, and b holds back items that follow everything. A history
    scores s(j) = sum over its items i, n steps from its end, of g^n W(i, j). Equal scores are ordered by popularity.

    Attributes:
        window: how many steps apart two interactions may be.
        shrinkage: h.
        discount: b.
        decay: g.
        unit: what interactions follow each other in, all that a ``user`` did or a ``session``.
    """

    window: int = 10
    shrinkage: float = 2.0
    discount: float = 0.3
    decay: float = 0.5
    unit: Literal["user", "session"] = "user"
    _rules: Any = field(init=False, repr=False)
    """[items, items] W, ``scipy.sparse.csr_matrix``."""
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.name, window=self.window, decay=self.decay)
        require_not_negative(self.name, shrinkage=self.shrinkage, discount=self.discount)

    @property
    def name(self) -> str:
        """``sequential_rules``."""
        return "sequential_rules"

    def fit(self, interactions: Interactions) -> None:
        """Count the rules of each item, nearer ones first."""
        from models.families.neighbours.pair_loops import rules

        group = interactions.user if self.unit == "user" else interactions.session
        order = np.lexsort((np.arange(len(group)), interactions.time, group))
        item, group = interactions.item[order].astype(np.int32), group[order]
        places = np.argsort(item, kind="stable")
        count = np.bincount(item, minlength=interactions.items)
        starts = np.concatenate([[0], np.cumsum(count)])
        held_back = np.maximum(count.astype(np.float64), 1.0) ** self.discount
        learnt = (starts, places, item, group, self.window, float(self.shrinkage), held_back)
        self._rules = in_blocks(self.name, interactions.items, lambda begin, end, *into: int(rules(begin, end, *learnt, *into)))
        self._popularity = PopularityOrder.of(interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64, 0 or above."""
        from scipy.sparse import csr_matrix

        back = queries.starts[1:][queries.rows] - 1 - np.arange(len(queries.history))
        shape = (len(queries), self._rules.shape[0])
        history = csr_matrix((self.decay ** back.astype(np.float64), queries.history.copy(), queries.starts.copy()), shape=shape)
        history.sum_duplicates()
        return self._popularity.break_ties((history @ self._rules).toarray(), overwrite=True)

    def similarities(self, most: int) -> Any:
        """Return W, its strongest entries; see the interface."""
        return top_k_per_row(self._rules, most)
