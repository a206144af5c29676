"""Users, items and answers on which evaluations are timed: factors whose products are exact, so that every library ranks alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Factors = npt.NDArray[np.float32]

DIMENSIONS: Final = 64
_LARGEST: Final = isqrt((1 << 24) // DIMENSIONS) - 1
"""Factors are whole numbers up to this: no sum of products exceeds 2^24, up to which float32 holds all, in whatever order it is summed."""
_USERS_AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class Problem:
    """What is ranked and what is true; pairs are sorted by user, and by item within a user.

    Attributes:
        user_factors: [U, 64] whole numbers.
        item_factors: [I, 64] whole numbers; the score of an item is the product of both.
        truth_row: [p] user of each truth item; every user has one at least.
        truth_item: [p] the item.
        seen_row: [s] user of each training interaction, which hides its item from the user's list.
        seen_item: [s] the item.
    """

    user_factors: Factors
    item_factors: Factors
    truth_row: Ints
    truth_item: Ints
    seen_row: Ints
    seen_item: Ints

    def first(self, users: int) -> Problem:
        """Return the problem of the first ``users`` alone, among all items."""
        truth, seen = self.truth_row < users, self.seen_row < users
        return Problem(
            self.user_factors[:users],
            self.item_factors,
            self.truth_row[truth],
            self.truth_item[truth],
            self.seen_row[seen],
            self.seen_item[seen],
        )

    def save(self, path: Path) -> None:
        """Write the problem to an ``.npz`` file."""
        arrays: dict[str, Any] = asdict(self)
        np.savez(path, **arrays)

    @staticmethod
    def load(path: str) -> Problem:
        """Read what ``save`` wrote."""
        with np.load(path) as arrays:
            return Problem(**arrays)


def draw(users: int, items: int, *, truths: int, pool: int, seen: int, seed: int) -> Problem:
    """Draw a problem.

    Args:
        users: how many there are.
        items: how many there are.
        truths: truth items of a user, at most: what is drawn twice counts once.
        pool: items that are drawn for each user, of which the best scored are true: the more, the better the scorer.
            As many as ``truths``, and it has learnt nothing.
        seen: training interactions of a user, at most; item i of I in proportion to the square root of 1 / i.
        seed: fixes all that is drawn.
    """
    generator = np.random.default_rng(seed)
    user_factors, item_factors = (
        generator.integers(-_LARGEST, _LARGEST + 1, size=(number, DIMENSIONS)).astype(np.float32) for number in (users, items)
    )
    true = [
        start * items + _best(user_factors[start : start + _USERS_AT_ONCE], item_factors, truths, pool, generator)
        for start in range(0, users, _USERS_AT_ONCE)
    ]
    truth = np.concatenate(true)
    drawn = (generator.random((users, seen)) ** 2 * items).astype(np.int64)
    hidden = np.setdiff1d((np.arange(users)[:, None] * items + drawn).ravel(), truth)
    return Problem(user_factors, item_factors, *np.divmod(truth, items), *np.divmod(hidden, items))


def _best(users: Factors, items: Factors, truths: int, pool: int, generator: np.random.Generator) -> Ints:
    """Return the pairs user * I + item, ascending, of the best scored of ``pool`` items that are drawn for each user."""
    drawn = np.sort(generator.integers(len(items), size=(len(users), pool)), axis=1)
    scores = np.einsum("ud,upd->up", users, items[drawn])
    scores[:, 1:][drawn[:, 1:] == drawn[:, :-1]] = -np.inf
    best = np.argpartition(-scores, truths - 1, axis=1)[:, :truths]
    distinct = np.take_along_axis(scores, best, axis=1) > -np.inf
    pairs = np.arange(len(users))[:, None] * len(items) + np.take_along_axis(drawn, best, axis=1)
    return np.sort(pairs[distinct])
