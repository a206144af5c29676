"""Exploration: a share of answers in random order, for off-policy estimates of other rankings.

Whether a request explores, and how, follows from its id: the same request asked again is shown the same. With a share e and m items that
may move, an item at a place has the propensity (1 - e) [the model put it there] + e / m; what rules have pinned keeps its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from serving.experiments.assignment import place_of

_WHETHER: Final = "cartwheel explores"
_HOW: Final = "cartwheel shuffles"


@dataclass(frozen=True)
class Shown:
    """What is shown of an answer.

    Attributes:
        places: of each shown item, its place in the model's order.
        propensities: of each, the probability with which it was shown there.
        explored: whether the order is random.
    """

    places: tuple[int, ...]
    propensities: tuple[float, ...]
    explored: bool


@dataclass(frozen=True)
class Exploration:
    """How much is explored.

    Attributes:
        share: of the requests, in [0, 1].
        pool: how many of the best items the random order is drawn from, where more are answered than shown.
    """

    share: float
    pool: int = 20

    def shown(self, request_id: str, fixed: Sequence[bool], k: int) -> Shown:
        """Return what is shown of an answer.

        Args:
            request_id: of the request; its randomness.
            fixed: of each item of the answer, in the model's order, whether it must keep its place.
            k: how many are shown.
        """
        shown = min(k, len(fixed))
        free = [place for place, is_fixed in enumerate(fixed) if not is_fixed]
        slots = [place for place in free if place < shown]
        explored = place_of(request_id, _WHETHER) < self.share
        places = list(range(shown))
        if explored:
            seed = int(place_of(request_id, _HOW) * 2**53)
            drawn = np.random.default_rng(seed).permutation(free)[: len(slots)].tolist()
            for slot, place in zip(slots, drawn, strict=True):
                places[slot] = place
        at_random = self.share / len(free) if free else 0.0
        propensities = [
            1.0 if fixed[slot] else min(1.0, (1.0 - self.share) * (place == slot) + at_random)
            for slot, place in enumerate(places)
        ]
        return Shown(tuple(places), tuple(propensities), explored)
