"""Baselines that every model must beat, one a file; those of ``BASELINES`` run beside every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from models.offline.baselines.als import ALS
from models.offline.baselines.bpr import BPR
from models.offline.baselines.ease import EASE
from models.offline.baselines.item_knn import ItemKNN
from models.offline.baselines.markov_next_item import MarkovNextItem
from models.offline.baselines.most_popular import MostPopular
from models.offline.baselines.popular_in_category import PopularInCategory
from models.offline.baselines.recently_popular import RecentlyPopular
from models.offline.baselines.vsknn import VSKNN
from models.offline.recommender import Recommender

EASE_ITEMS: Final = 15_000
"""Items that EASE learns by default: 2.5 GiB, and about a minute on two cores."""

BASELINES: Final[Mapping[str, Callable[[int], Recommender]]] = {
    "most_popular": lambda _: MostPopular(),
    "recently_popular": lambda _: RecentlyPopular(),
    "popular_in_category": lambda _: PopularInCategory(),
    "item_knn": lambda _: ItemKNN(),
    "vsknn": lambda _: VSKNN(),
    "ease": lambda _: EASE(max_items=EASE_ITEMS),
    "als": lambda seed: ALS(seed=seed),
    "bpr": lambda seed: BPR(seed=seed),
    "markov_next_item": lambda _: MarkovNextItem(),
}
"""Name -> the baseline made with a seed, not yet fitted."""

__all__ = [
    "ALS",
    "BASELINES",
    "BPR",
    "EASE",
    "VSKNN",
    "ItemKNN",
    "MarkovNextItem",
    "MostPopular",
    "PopularInCategory",
    "RecentlyPopular",
]
