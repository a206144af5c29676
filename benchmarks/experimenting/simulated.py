"""A simulated shop whose clicks are known in probability: what a policy is worth, and what a log of an exploring policy tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from evaluation.off_policy.estimators import Logged
from evaluation.off_policy.rewards import cross_fitted, of_choices
from serving.experiments.exploration import Exploration
from workflows.simulate import SimulateSettings, simulate
from workflows.simulate.truth import Truth

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SHOWN: Final = 5
EXAMINED: Final = 1.0 / np.log2(np.arange(SHOWN) + 2.0)
"""[SHOWN] probability that a shopper looks at a place."""
_PULL: Final = 12.0
_NAMES: Final = 40_000
_REQUESTS: Final = 3
"""Requests of one shopper."""


@dataclass(frozen=True)
class Population:
    """Requests that shoppers may make, and what two policies answer.

    Attributes:
        clicks: [n, I] probability that an item is clicked by who looks at it.
        first: [n, pool] items of policy A, the best first.
        second: [n, SHOWN] items of policy B.
        shoppers: [n] number of the shopper.
    """

    clicks: Floats
    first: Ints
    second: Ints
    shoppers: Ints

    def worth(self, lists: Ints) -> float:
        """Return the clicks of a place, on average, of a policy that answers these lists."""
        rows = np.arange(len(lists))[:, None]
        return float((self.clicks[rows, lists[:, :SHOWN]] * EXAMINED).mean())


def population(folder: Path, shoppers: int, pool: int, seed: int) -> Population:
    """Simulate a shop, and return requests of its shoppers; A shows what is popular, B what is popular with others of the category."""
    simulate(SimulateSettings(shoppers=max(300, shoppers), items=200, days=28), seed, folder)
    truth = Truth.load(folder)
    views = pl.read_parquet(folder / "events.parquet").filter(pl.col("event_type") == "view")
    views = views.with_columns(us=pl.col("timestamp").dt.epoch("us"))
    of_shopper = views.group_by("user_id", maintain_order=True).tail(_REQUESTS)
    chosen = of_shopper["user_id"].unique(maintain_order=True).head(shoppers)
    asked = of_shopper.filter(pl.col("user_id").is_in(chosen.implode()))
    items = views["item_id"].unique().sort().to_list()
    logs = truth.scores(asked["user_id"].to_list(), asked["us"].to_numpy(), [None] * asked.height, items)
    clicks = -np.expm1(-_PULL * np.exp(logs.astype(np.float64)))
    order = {item: place for place, item in enumerate(items)}
    counts = np.bincount([order[item] for item in views["item_id"]], minlength=len(items))
    popular = np.argsort(-counts, kind="stable")
    category = _codes(views, items)
    favourite = np.array([category[order[item]] for item in asked["item_id"]])
    number = np.unique(asked["user_id"].to_numpy(), return_inverse=True)[1]
    second = np.array([_first_of(popular, category == each)[:SHOWN] for each in favourite])
    return Population(clicks, np.tile(popular[:pool], (asked.height, 1)), second, number.astype(np.int64))


def logged(shop: Population, exploration: Exploration, shoppers: int, seed: int) -> tuple[Logged, Logged]:
    """Return a log that A wrote while it explored, once with A and once with B as its target.

    Args:
        shop: the population, of which shoppers are drawn with replacement.
        exploration: of the requests.
        shoppers: how many are drawn.
        seed: fixes the draw, the names of the requests, by which it is explored, and the clicks.
    """
    rng = np.random.default_rng(seed)
    of_shopper = np.split(np.argsort(shop.shoppers, kind="stable"), np.cumsum(np.bincount(shop.shoppers))[:-1])
    drawn = rng.integers(0, len(of_shopper), shoppers)
    rows = np.concatenate([of_shopper[each] for each in drawn])
    who = np.repeat(np.arange(shoppers), [len(of_shopper[each]) for each in drawn])
    orders, chances = _shown(exploration, shop.first.shape[1])
    asked = rng.integers(0, _NAMES, len(rows))
    items, propensities = shop.first[rows[:, None], orders[asked]], chances[asked]
    clicked = rng.random(items.shape) < shop.clicks[rows[:, None], items] * EXAMINED
    places = np.tile(np.arange(SHOWN), len(rows))
    flat: Ints = items.ravel()
    rewards, each = clicked.ravel().astype(np.float64), np.repeat(who, SHOWN)
    made = []
    for target in (shop.first[rows, :SHOWN], shop.second[rows]):
        wanted: Ints = target.ravel()
        models = cross_fitted(flat, places, rewards, each, of_choices(wanted, places), seed=seed)
        made.append(Logged(rewards, propensities.ravel(), (wanted == flat).astype(np.float64), each, *models))
    return made[0], made[1]


@lru_cache(maxsize=2)
def _shown(exploration: Exploration, pool: int) -> tuple[Ints, Floats]:
    """Return [_NAMES, SHOWN] what requests of so many names are shown, as places in the order of A, and the propensities."""
    shown = [exploration.shown(f"request-{name}", [False] * pool, SHOWN) for name in range(_NAMES)]
    return np.array([each.places for each in shown]), np.array([each.propensities for each in shown])


def _codes(views: pl.DataFrame, items: list[str]) -> Ints:
    known = dict(views.select("item_id", "category").unique("item_id").iter_rows())
    numbers = {name: place for place, name in enumerate(sorted(set(known.values())))}
    return np.array([numbers[known[item]] for item in items], dtype=np.int64)


def _first_of(popular: Ints, wanted: npt.NDArray[np.bool_]) -> Ints:
    found: Ints = popular[wanted[popular]]
    return found if len(found) >= SHOWN else np.concatenate([found, popular[~wanted[popular]]])
