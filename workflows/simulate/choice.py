"""The laws by which shoppers choose; the generator draws from them and the oracle reads them off.

A view is a nested choice. Its category is the session's intent with probability ``1 - WANDER``, else drawn anew from the
shopper's categories at that hour. Within the category the items compete by softmax over

    taste_weight * (taste + occasion shift) . vector  -  sensitivity / 2 * (log price - level - shift)^2
    + appeal of the day (power law, drift, novelty, promotion)  -  FATIGUE if among the last MEMORY views of earlier days

and what the session has seen already is out (a Plackett-Luce order, drawn by the Gumbel trick).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workflows.simulate.world import Doubles, Floats, Ints, World

WANDER: Final = 0.4
"""Probability that a view leaves the session's intent and its category is drawn anew."""
FATIGUE: Final = 2.5
"""What an item among a shopper's remembered views loses in utility on a later day."""

_NOVELTY_DAYS: Final = 10.0
_PROMOTION_PULL: Final = 3.0
_HOUR_PULL: Final = 0.6
_PRICE_ORIGIN: Final = 3.4


@dataclass(frozen=True)
class Day:
    """The catalogue on one day; arrays over all items."""

    discount: Doubles
    """Share off the base price, 0 outside campaigns."""
    price: Doubles
    """What the item costs that day, rounded to cents."""
    appeal: Floats
    """Log popularity of the day, promotion included; -inf before the launch."""
    features: Floats
    """[I, D + 2] what the shopper's weights (:func:`shopper_weights`) multiply: vector, log price, its square."""


def catalogue_on(world: World, day: int) -> Day:
    """Return the state of the catalogue on ``day`` (0 = first day of the log; any integer is allowed)."""
    items, promotions = world.items, world.promotions
    discount = np.zeros(len(items.category))
    active = (promotions.first_day <= day) & (day <= promotions.last_day)
    np.maximum.at(discount, promotions.item[active], promotions.discount[active])
    price = np.maximum(np.round(items.base_price * (1.0 - discount), 2), 0.01)
    age = day - items.launch_day
    appeal = items.appeal + items.novelty * np.exp(-np.maximum(age, 0) / _NOVELTY_DAYS) + _PROMOTION_PULL * discount
    appeal += items.drift_size * np.sin(2.0 * np.pi * day / items.drift_days + items.drift_phase)
    appeal[age < 0] = -np.inf
    level = np.log(price) - _PRICE_ORIGIN
    features = np.column_stack([items.vector, level, level**2]).astype(np.float32)
    return Day(discount, price, appeal.astype(np.float32), features)


def category_probabilities(world: World, users: Ints, hours: Ints) -> Doubles:
    """Probability of each category as the intent of a session.

    Args:
        world: the world.
        users: [B] user codes.
        hours: [B] UTC hour at which the session begins.

    Returns:
        [B, C]; rows sum to 1.
    """
    rhythm = _HOUR_PULL * np.cos(2.0 * np.pi * (hours[:, None] - world.categories.peak_hour[None, :]) / 24.0)
    logits = world.users.category_logits[users] + rhythm
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Doubles = weight / weight.sum(axis=1, keepdims=True)
    return probabilities


def shopper_weights(world: World, users: Ints, occasions: Ints) -> Floats:
    """What a shopper on an occasion weighs item features with.

    Args:
        world: the world.
        users: [B] user codes.
        occasions: [B] occasion codes.

    Returns:
        [B, D + 2] float32: its product with :attr:`Day.features` is taste plus price fit, up to a constant per row.
    """
    taste = np.float32(world.taste_weight) * (world.users.taste[users] + world.occasions.taste_shift[occasions])
    sensitivity = world.users.price_sensitivity[users]
    level = world.users.price_level[users] + world.occasions.price_shift[occasions] - np.float32(_PRICE_ORIGIN)
    return np.column_stack([taste, sensitivity * level, np.float32(-0.5) * sensitivity]).astype(np.float32)


def affinity(world: World, users: Ints, occasions: Ints, items: Ints) -> Doubles:
    """Taste for the very items, as [B] float64; mean 0 and standard deviation about 1.5 over random pairs at taste 1."""
    taste = world.users.taste[users] + world.occasions.taste_shift[occasions]
    matched: NDArray[np.float32] = np.einsum("bd,bd->b", taste, world.items.vector[items])
    return world.taste_weight * matched.astype(np.float64)
