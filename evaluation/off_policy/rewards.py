"""A model of the reward for doubly robust estimates: the rate of a choice, shrunken, never learnt on the shopper it is asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_FOLDS: Final = 5


def cross_fitted(
    choices: Ints,
    groups: Ints,
    rewards: Floats,
    shoppers: npt.NDArray[np.generic],
    asked: Ask,
    strength: float = 20.0,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Return what a model predicts of the logged and of the target's choices, learnt on the other folds of shoppers.

    The model is the mean reward of a choice in its group (an item at its place), drawn towards the mean of the group by ``strength`` rows,
    and that towards the mean of all. It may be as wrong as it likes: doubly robust estimates stay unbiased, only wider.

    Args:
        choices: [n] number of the choice that was made.
        groups: [n] number of the group in which it was made, the place of a list.
        rewards: [n] what came of it.
        shoppers: [n] whose row it is; shoppers are what the folds are drawn of.
        asked: the target; :func:`of_choices` or :func:`of_policy`.
        strength: rows of the prior.
        seed: fixes the folds.

    Returns:
        [n] the model of ``choices``, and its mean over the choices of the target.
    """
    distinct, code = np.unique(shoppers, return_inverse=True)
    fold = np.random.default_rng(seed).integers(0, _FOLDS, len(distinct))[code]
    sizes = max(int(choices.max(initial=0)) + 1, asked.choices), int(groups.max(initial=0)) + 1
    logged, other = np.empty(len(rewards)), np.empty(len(rewards))
    for number in range(_FOLDS):
        rate = _rates(choices[fold != number], groups[fold != number], rewards[fold != number], sizes, strength)
        here = np.flatnonzero(fold == number)
        logged[here] = rate[choices[here], groups[here]]
        other[here] = asked.mean(rate, here)
    return logged, other


@dataclass(frozen=True)
class Ask:
    """The choices of a target.

    Attributes:
        choices: how many choices it knows.
        mean: gives the mean of rates [choices + 1, groups] over its choices in some rows.
    """

    choices: int
    mean: Callable[[Floats, Ints], Floats]


def of_choices(asked: Ints, groups: Ints) -> Ask:
    """Return a target that makes one choice a row: [n] its number, -1 where the log never made it, which is worth the group's mean."""
    return Ask(int(asked.max(initial=-1)) + 1, lambda rates, rows: rates[asked[rows], groups[rows]])


def of_policy(probabilities: Floats, groups: Ints) -> Ask:
    """Return a target that chooses at random: [choices, groups] its probabilities, the same in all rows."""

    def mean(rates: Floats, rows: Ints) -> Floats:
        means: Floats = (rates[: len(probabilities)] * probabilities).sum(axis=0)[groups[rows]]
        return means

    return Ask(len(probabilities), mean)


def _rates(choices: Ints, groups: Ints, rewards: Floats, sizes: tuple[int, int], strength: float) -> Floats:
    """Return [choices + 1, groups] the rates; the last row, which -1 reads, holds those of the groups."""
    many, kinds = sizes
    overall = float(rewards.mean()) if len(rewards) else 0.0
    seen, gained = np.bincount(groups, minlength=kinds), np.bincount(groups, rewards, kinds)
    of_group = (gained + strength * overall) / (seen + strength)
    place = choices * kinds + groups
    seen = np.bincount(place, minlength=many * kinds).reshape(many, kinds)
    gained = np.bincount(place, rewards, many * kinds).reshape(many, kinds)
    return np.vstack([(gained + strength * of_group) / (seen + strength), of_group])
