"""Sampled negatives for the ranking model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workflows.events.asof import Bools, Ints

Hides = Callable[[Ints, Ints], Bools]
_POPULAR_ROUNDS = 8
_ROUNDS = 16


class NegativeSampler:
    """Draws items that a shopper was not after, from what the shop sold at the time.

    The rule: the pool of an anchor is the items first seen strictly before its state instant, and its popularity counts are the
    interactions strictly before it. Of an anchor's negatives the 1st, 3rd, 5th, ... are drawn in proportion to those
    interactions (a uniform draw among past interactions) and the 2nd, 4th, ... uniformly from the pool. Forbidden items and
    items already drawn for the anchor are drawn again; a popular draw that keeps failing becomes a uniform one, and what still
    fails is drawn from the exact remainder of the pool, which may be empty: then the anchor has fewer negatives.

    Args:
        first_seen: int64 [I], instant at which each item (by code) was first seen.
        item: int64 [N], items of the interactions, any order.
        time: int64 [N], their instants.
    """

    def __init__(self, first_seen: Ints, item: Ints, time: Ints) -> None:
        self._by_age = np.argsort(first_seen, kind="stable")
        self._ages = first_seen[self._by_age]
        order = np.argsort(time, kind="stable")
        self._items = item[order]
        self._times = time[order]
        self._width = len(first_seen)

    def draw(
        self, instant: Ints, forbidden: tuple[Ints, Ints], count: int, rng: np.random.Generator, hides: Hides | None = None
    ) -> Ints:
        """Draw up to ``count`` distinct negatives for each anchor.

        Args:
            instant: int64 [A], state instant of each anchor, microseconds.
            forbidden: (anchor number, item code), int64 [F] each: what must not be drawn for that anchor.
            count: negatives wanted for each anchor.
            rng: the only source of randomness.
            hides: tells of pairs of anchor number and item code whether they are forbidden too, where they are too many to be listed.

        Returns:
            int64 [A, count], item codes, -1 where the pool has too few items.
        """
        drawn = np.full((len(instant), count), -1, dtype=np.int64)
        pool = np.searchsorted(self._ages, instant)
        past = np.searchsorted(self._times, instant)
        blocked = np.unique(forbidden[0] * self._width + forbidden[1])
        anchor, slot = (part.ravel() for part in np.indices(drawn.shape))
        alive = pool[anchor] > 0
        anchor, slot = anchor[alive], slot[alive]
        taken = np.empty(0, dtype=np.int64)
        for attempt in range(_ROUNDS):
            if not len(anchor):
                break
            popular = (slot % 2 == 0) & (past[anchor] > 0) & (attempt < _POPULAR_ROUNDS)
            item = self._candidates(anchor, popular, pool, past, rng)
            pair = anchor * self._width + item
            good = _first_of_each(pair) & ~_within(pair, blocked) & ~_within(pair, taken)
            good[good] = ~hides(anchor[good], item[good]) if hides else True
            drawn[anchor[good], slot[good]] = item[good]
            taken = np.sort(np.concatenate([taken, pair[good]]))
            anchor, slot = anchor[~good], slot[~good]
        self._fill(drawn, np.unique(anchor), pool, blocked, rng, hides)
        return drawn

    def _candidates(self, anchor: Ints, popular: Bools, pool: Ints, past: Ints, rng: np.random.Generator) -> Ints:
        chance = rng.random(len(anchor))
        item = self._by_age[(chance * pool[anchor]).astype(np.int64)]
        event = (chance[popular] * past[anchor[popular]]).astype(np.int64)
        item[popular] = self._items[event]
        return item

    def _fill(self, drawn: Ints, anchors: Ints, pool: Ints, blocked: Ints, rng: np.random.Generator, hides: Hides | None) -> None:
        """Fill the empty places of the few anchors where chance kept failing, by listing what is left of their pools."""
        for anchor in anchors.tolist():
            low, high = np.searchsorted(blocked, [anchor * self._width, (anchor + 1) * self._width])
            used = np.concatenate([blocked[low:high] - anchor * self._width, drawn[anchor]])
            left = np.setdiff1d(self._by_age[: pool[anchor]], used)
            left = left[~hides(np.full(len(left), anchor), left)] if hides else left
            empty = np.flatnonzero(drawn[anchor] < 0)[: len(left)]
            drawn[anchor, empty] = rng.permutation(left)[: len(empty)]


def _first_of_each(values: Ints) -> Bools:
    first = np.zeros(len(values), dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _within(values: Ints, ordered: Ints) -> Bools:
    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.equal(ordered[place], values)
