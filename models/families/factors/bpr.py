"""Matrix factorisation that learns from pairs, from the library ``implicit`` unless negatives are drawn uniformly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cartwheel.core.progress import PATIENCE, progress
from models.families.factors.factors import Factors, one_thread, products
from models.families.kept import Arrays, Keepable
from models.families.parameters import require_not_negative, require_positive
from models.families.popularity.most_popular import item_counts
from models.families.popularity_order import PopularityOrder
from models.families.recommender import Scores
from models.questions.interactions import Bools, Floats, Interactions, Queries


@dataclass
class BPR(Keepable):
    """Bayesian personalised ranking (Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618).

    Learns factors x(u), y(i) and item biases b(i) by stochastic gradient ascent on the sum of log sigmoid(s(u, i) - s(u, j)) less
    l2 / 2 times the squares, with s(u, i) = x(u)'y(i) + b(i), i an item that u interacted with, and j one that u did not, drawn in
    proportion to popularity or uniformly. A stranger, or a user without training interactions, stands at the mean of the factors of the
    items that the history holds and training held; where there is none, all items score 0. An item without training interactions has
    kept its random start, so it scores as low as the lowest item that has some. Equal scores are ordered by popularity.

    Attributes:
        factors: how many, the bias not counted.
        learning_rate: of the gradient ascent.
        l2: penalty.
        iterations: passes over the interactions.
        negatives: how j is drawn. In proportion to ``popularity`` teaches to tell popular items apart; ``uniform``, as in the paper and
            in the library Cornac, teaches popularity first of all.
        seed: fixes the first factors and the draws; training runs in one thread, for several race.
    """

    factors: int = 64
    learning_rate: float = 0.02
    l2: float = 0.01
    iterations: int = 100
    negatives: Literal["popularity", "uniform"] = "popularity"
    seed: int = 0
    user_factors: Factors = field(init=False, repr=False)
    """[users, factors + 1], the last 1."""
    item_factors: Factors = field(init=False, repr=False)
    """[items, factors + 1], the last the bias."""
    user_known: Bools = field(init=False, repr=False)
    """[users] whether training holds the user."""
    item_known: Bools = field(init=False, repr=False)
    """[items] whether training holds the item."""
    _wide: Floats = field(init=False, repr=False)
    """``item_factors`` in float64, in which they are multiplied."""
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.name, factors=self.factors, learning_rate=self.learning_rate, iterations=self.iterations)
        require_not_negative(self.name, l2=self.l2)

    @property
    def name(self) -> str:
        """``bpr``."""
        return "bpr"

    @property
    def shared(self) -> bool:
        """It sets how many threads all have."""
        return False

    def fit(self, interactions: Interactions) -> None:
        """Climb, in one thread."""
        learn = self._with_implicit if self.negatives == "popularity" else self._with_uniform_negatives
        self._take(*learn(interactions), interactions)

    def learnt(self) -> Arrays:
        """Return the factors."""
        return {"users": self.user_factors, "items": self.item_factors}

    def recall(self, learnt: Arrays, interactions: Interactions) -> None:
        """Take the factors as they are."""
        self._take(learnt["users"], learnt["items"], interactions)

    def _take(self, users: Factors, items: Factors, interactions: Interactions) -> None:
        self.user_factors, self.item_factors = users, items
        self._wide = self.item_factors.astype(np.float64)
        self.item_known = item_counts(interactions) > 0
        self.user_known = np.diff(interactions.starts) > 0
        self._popularity = PopularityOrder.of(interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64."""
        result = products(self._askers(queries), self._wide)
        if not self.item_known.all():
            result[:, ~self.item_known] = result[:, self.item_known].min(axis=1, keepdims=True)
        return self._popularity.break_ties(result, overwrite=True)

    def _with_implicit(self, interactions: Interactions) -> tuple[Factors, Factors]:
        from implicit.cpu.bpr import BayesianPersonalizedRanking  # loads libraries that one_thread must find

        with one_thread(), progress(self.name, self.iterations, patience=PATIENCE) as advance:
            model = BayesianPersonalizedRanking(
                self.factors,
                self.learning_rate,
                self.l2,
                iterations=self.iterations,
                num_threads=1,
                random_state=self.seed,
            )
            matrix = interactions.matrix().astype(np.float32)
            model.fit(matrix, show_progress=False, callback=lambda *_: advance())
        return model.user_factors, model.item_factors

    def _with_uniform_negatives(self, interactions: Interactions) -> tuple[Factors, Factors]:
        from models.families.factors.pairwise_descent import climb

        generator = np.random.default_rng(self.seed)
        with progress(self.name, self.iterations, patience=PATIENCE) as advance:
            settings = (self.factors, self.learning_rate, self.l2, self.iterations)
            return climb(interactions.matrix(), *settings, generator, advance)

    def _askers(self, queries: Queries) -> Factors:
        """Return [q, factors + 1] the user's factors, or the mean of the history's, or 0 where nothing is known."""
        history = queries.matrix(len(self.item_factors)).multiply(self.item_known[None]).tocsr()
        history.sort_indices()
        length = np.asarray(history.sum(axis=1))
        result: Factors = (history @ self.item_factors / np.maximum(length, 1.0)).astype(np.float32)
        result[:, -1] = length.ravel() > 0
        known = np.flatnonzero((queries.user >= 0) & self.user_known[queries.user])
        result[known] = self.user_factors[queries.user[known]]
        return result
