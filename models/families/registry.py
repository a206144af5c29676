"""The registry of baselines.

Those of ``evaluate.baselines`` run beside every model, and so do the two popularity baselines. Those the evaluation of a run reads off the
catalogue's own counts (``models.families.tabular.logistic_regression.POPULARITY``): they are the counts of ``MostPopular``, and of
``RecentlyPopular`` but for where its window ends, with the last interaction before the split and not with the start of the split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from cartwheel.core.errors import ConfigError, UsageError
from models.families.factors.als import ALS
from models.families.factors.bpr import BPR
from models.families.neighbours.ease import EASE
from models.families.neighbours.item_knn import ItemKNN
from models.families.neighbours.markov_next_item import MarkovNextItem
from models.families.neighbours.vsknn import VSKNN
from models.families.popularity.most_popular import MostPopular
from models.families.popularity.popular_in_category import PopularInCategory
from models.families.popularity.recently_popular import RecentlyPopular
from models.families.recommender import Recommender

EASE_ITEMS: Final = 15_000
"""Items that EASE learns by default: at most 2.5 GiB, and about a minute on two cores; less where users are fewer than items."""

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


def make_baseline(name: str, seed: int, parameters: Mapping[str, Any] | None = None, where: str | None = None) -> Recommender:
    """Make a baseline of ``BASELINES``, some of its parameters set.

    Args:
        name: of the baseline.
        seed: of its draws.
        parameters: fields of the baseline's class.
        where: the section of the configuration that holds them; None is this baseline's own in ``evaluate.baseline_parameters``.

    Raises:
        ConfigError: if one is not known or not accepted.
    """
    made: Any = BASELINES[name](seed)
    known = {field.name: field.type for field in fields(made) if field.init}
    where = where or f"evaluate.baseline_parameters.{name}"
    for key, value in (parameters or {}).items():
        if key not in known:
            raise ConfigError(f"{where}.{key} is not a known key.", f"Known keys here: {', '.join(known) or 'none'}.")
        if known[key] == "int" and type(value) is not int:
            raise ConfigError(f"{where}.{key} is {value!r}, where a whole number is expected.", "Give one.")
    try:
        result: Recommender = replace(made, **(parameters or {}))
    except (TypeError, UsageError) as error:
        raise ConfigError(f"{where} = {dict(parameters or {})} is not accepted: {error}", "Correct the value.") from error
    return result


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
    "make_baseline",
]
