"""A sequential test that is valid after every shopper and may be stopped early.

An ordinary test that is looked at again and again rejects sooner or later whatever is true. A confidence sequence covers the true
difference at all times together with its level, so that it may be watched, stopped early, or continued. The one here is the normal
mixture of the sequential probability ratio test (Robbins, 1970, https://doi.org/10.1214/aoms/1177696786; Johari, Koomen, Pekelis and
Walsh, "Always Valid Inference: Continuous Monitoring of A/B Tests", Operations Research 70(3), 2022, https://doi.org/10.1287/opre.2021.2135)
with the estimated variance of a difference of two means, as asymptotic confidence sequences allow (Waudby-Smith, Arbour, Sinha, Kennedy
and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52(6), 2024,
https://arxiv.org/abs/2103.06476): the width is valid from the first look on at which the means are about normal, hence ``least``.

One value a shopper: shoppers are what is assigned, and what one shopper does at different times is not independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import UsageError

Floats = npt.NDArray[np.float64]
LEVEL: Final = 0.05
LEAST: Final = 200
"""Shoppers of each arm before which nothing is decided."""
LEAST_EVENTS: Final = 25
"""Shoppers of each arm whose value is not 0 before which nothing is decided: below, a mean of rare events is not about normal."""


@dataclass(frozen=True)
class Look:
    """What is known at one moment.

    Attributes:
        shoppers: of both arms together.
        difference: mean of the second arm less the first's.
        low: lower end of the confidence sequence; -inf before anything is decided.
        high: upper end.
        p_value: always valid: how seldom a sequence without a difference would look like this, at any moment up to now.
    """

    shoppers: int
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def is_decided(self) -> bool:
        """Whether the two arms differ."""
        return self.low > 0 or self.high < 0


class Arms:
    """Two arms, shopper after shopper.

    Args:
        planned: number of shoppers of both arms at which the sequence shall be narrowest; it is valid at every other number, too.
        level: how often at most a difference is found that is none.

    Raises:
        UsageError: if ``planned`` or ``level`` is out of range.
    """

    def __init__(self, planned: int = 10_000, level: float = LEVEL) -> None:
        if planned < 1 or not 0 < level < 1:
            raise UsageError(f"The plan is {planned} shoppers at level {level}.", "Give at least 1, and a level between 0 and 1.")
        self._rho2 = _mixture(planned, level)
        self._level = level
        self._count, self._sum, self._squares = [0, 0], [0.0, 0.0], [0.0, 0.0]
        self._events = [0, 0]
        self._p_value = 1.0

    def add(self, arm: int, value: float) -> None:
        """Take in the value of a shopper of arm 0 or 1."""
        self._count[arm] += 1
        self._sum[arm] += value
        self._squares[arm] += value * value
        self._events[arm] += value != 0

    def look(self) -> Look:
        """Return what is known now."""
        shoppers = sum(self._count)
        if min(self._count) < LEAST or min(self._events) < LEAST_EVENTS:
            means = [total / count if count else 0.0 for total, count in zip(self._sum, self._count, strict=True)]
            return Look(shoppers, means[1] - means[0], -math.inf, math.inf, self._p_value)
        means = [total / count for total, count in zip(self._sum, self._count, strict=True)]
        variance = sum(
            (squares / count - mean**2) / (count - 1)
            for squares, count, mean in zip(self._squares, self._count, means, strict=True)
        )
        difference, spread = means[1] - means[0], math.sqrt(max(variance, 0.0))
        self._p_value = min(self._p_value, _p_value(difference, spread, shoppers, self._rho2))
        radius = spread * _width(shoppers, self._rho2, self._level)
        return Look(shoppers, difference, difference - radius, difference + radius, self._p_value)


def replay(
    arms: npt.NDArray[np.int64], values: Floats, every: int = 1, planned: int = 10_000, level: float = LEVEL
) -> list[Look]:
    """Return what would have been seen at each look.

    Args:
        arms: [n] 0 or 1, in the order in which shoppers came.
        values: [n] their values.
        every: after how many shoppers it is looked at.
        planned: see :class:`Arms`.
        level: see :class:`Arms`.

    Raises:
        UsageError: as :class:`Arms`.
    """
    state, looks = Arms(planned, level), []
    for place, (arm, value) in enumerate(zip(arms.tolist(), values.tolist(), strict=True), 1):
        state.add(arm, value)
        if place % every == 0 or place == len(arms):
            looks.append(state.look())
    return looks


def _mixture(planned: int, level: float) -> float:
    """Return the variance of the mixture that makes the sequence narrowest at ``planned`` (Waudby-Smith et al., appendix B.2)."""
    return (-2 * math.log(level) + math.log(-2 * math.log(level) + 1)) / planned


def _width(shoppers: int, rho2: float, level: float) -> float:
    """Return the radius in standard errors: sqrt(2 (n rho^2 + 1) / (n rho^2) log(sqrt(n rho^2 + 1) / level))."""
    grown = shoppers * rho2
    return math.sqrt(2 * (grown + 1) / grown * math.log(math.sqrt(grown + 1) / level))


def _p_value(difference: float, spread: float, shoppers: int, rho2: float) -> float:
    """Return 1 over the mixture likelihood ratio, at most 1: the level at which the sequence would just leave out 0."""
    if spread == 0:
        return 1.0
    grown = shoppers * rho2
    log_ratio = (difference / spread) ** 2 * grown / (2 * (grown + 1)) - math.log(grown + 1) / 2
    return math.exp(-max(log_ratio, 0.0))
