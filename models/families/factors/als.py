"""Matrix factorisation of implicit feedback by alternating least squares, from the library ``implicit``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cartwheel.core.progress import PATIENCE, progress
from models.families.factors.factors import Factors, one_thread, products
from models.families.kept import Arrays, Keepable
from models.families.parameters import require_positive
from models.families.popularity.most_popular import item_counts
from models.families.popularity_order import PopularityOrder
from models.families.recommender import Scores
from models.questions.interactions import Floats, Interactions, Queries


@dataclass
class ALS(Keepable):
    """Implicit alternating least squares, iALS (Hu, Koren and Volinsky, ICDM 2008, https://doi.org/10.1109/ICDM.2008.22).

    Finds factors x(u), y(i) that minimise, with confidence c(u, i) = alpha and preference p(u, i) = 1 where u interacted with i, and
    c = 1 and p = 0 elsewhere,

        sum over u, i of c(u, i) (p(u, i) - x(u)'y(i))^2 + l2 (sum of |x(u)|^2 + sum of |y(i)|^2).

    A question's factors are folded in: the x that minimises this for the history that it brings, so strangers and shoppers who went on
    after training are answered alike. An empty history scores 0 throughout, and so does an item without interactions; equal scores are
    ordered by popularity.

    Attributes:
        factors: how many.
        l2: penalty.
        alpha: confidence of an interaction.
        iterations: over users and items.
        seed: fixes the first factors.
    """

    factors: int = 64
    l2: float = 20.0
    alpha: float = 20.0
    iterations: int = 15
    seed: int = 0
    _model: Any = field(init=False, repr=False)
    """``implicit.cpu.als.AlternatingLeastSquares``"""
    item_factors: Factors = field(init=False, repr=False)
    """[items, factors] y(i), 0 for an item without interactions."""
    average_shopper: Factors = field(init=False, repr=False)
    """[factors] mean of x(u) over the users that training holds."""
    _wide: Floats = field(init=False, repr=False)
    """``item_factors`` in float64, in which they are multiplied."""
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.name, factors=self.factors, l2=self.l2, alpha=self.alpha, iterations=self.iterations)

    @property
    def name(self) -> str:
        """``als``."""
        return "als"

    @property
    def shared(self) -> bool:
        """The fold-in sets how many threads all have."""
        return False

    def fit(self, interactions: Interactions) -> None:
        """Alternate, in as many threads as there are cores: each solves for whole rows, so how many there are changes no bit."""
        import implicit.cpu.als  # noqa: F401  loads libraries that one_thread must find

        with one_thread(), progress(self.name, self.iterations, patience=PATIENCE) as advance:
            model = self._unfitted()
            matrix = interactions.matrix().astype(np.float32)
            model.fit(matrix, show_progress=False, callback=lambda *_: advance())
            # The library's solver stops early, and leaves of its random start where the solution is exactly 0.
            model.item_factors[item_counts(interactions) == 0] = 0.0
        self.average_shopper = model.user_factors[np.diff(interactions.starts) > 0].mean(axis=0)
        self._take(model, interactions)

    def learnt(self) -> Arrays:
        """Return the factors of the items and the average shopper's: those of the others are folded in."""
        return {"items": self.item_factors, "average": self.average_shopper}

    def recall(self, learnt: Arrays, interactions: Interactions) -> None:
        """Take the factors as they are."""
        model = self._unfitted()
        model.item_factors, self.average_shopper = learnt["items"], learnt["average"]
        self._take(model, interactions)

    def _unfitted(self) -> Any:
        from implicit.cpu.als import AlternatingLeastSquares

        return AlternatingLeastSquares(
            self.factors, self.l2, self.alpha, iterations=self.iterations, num_threads=0, random_state=self.seed
        )

    def _take(self, model: Any, interactions: Interactions) -> None:
        self._model, self.item_factors = model, model.item_factors
        self._wide = self.item_factors.astype(np.float64)
        self._popularity = PopularityOrder.of(interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64."""
        if not len(queries):
            return np.zeros((0, len(self.item_factors)))
        history = queries.matrix(len(self.item_factors)).astype(np.float32)
        history.sort_indices()  # sums of the fold-in run in one order
        with one_thread():
            asker = self._model.recalculate_user(np.arange(len(queries)), history)
        return self._popularity.break_ties(products(asker, self._wide), overwrite=True)
