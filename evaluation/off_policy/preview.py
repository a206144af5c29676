"""Compares two policies on one log, and decides whether the log suffices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cartwheel.core.errors import DataError, UsageError
from evaluation.off_policy.estimators import ESTIMATORS, SNIPS, Estimate, Floats, Logged, design_effect, effective_sample_size

LEAST_EFFECT: Final = 0.1
"""Relative difference that the log must be able to show unless another is stated."""
_POWER_FACTOR: Final = 16.0
"""Lehr's rule: 16 s^2 / d^2 rows an arm find a difference d with a power of 80 % at 5 % (Statistics in Medicine 11, 1992)."""


@dataclass(frozen=True)
class Valued:
    """What a log tells of one policy.

    Attributes:
        estimates: name of the estimator -> estimate.
        effective: effective sample size, the similarity of rows of one shopper taken off.
        weight: mean weight; far from 1 where propensities are wrong, or the log never made choices that the policy makes.
    """

    estimates: Mapping[str, Estimate]
    effective: float
    weight: float


@dataclass(frozen=True)
class Preview:
    """A preview of policy B beside policy A.

    Attributes:
        first: A.
        second: B.
        differences: name of the estimator -> B less A; their rows are the same, so the interval is that of the paired difference.
        needed: effective sample size below which nothing is decided.
        rows: rows of the log.
        shoppers: shoppers of the log.
    """

    first: Valued
    second: Valued
    differences: Mapping[str, Estimate]
    needed: float
    rows: int
    shoppers: int

    @property
    def effective(self) -> float:
        """The smaller of the two effective sample sizes."""
        return min(self.first.effective, self.second.effective)

    @property
    def is_enough(self) -> bool:
        """Whether the log suffices to decide."""
        return self.effective >= self.needed

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``level``, or ``refused``."""
        if not self.is_enough:
            return "refused"
        signs = {_sign(estimate) for estimate in self.differences.values()}
        return signs.pop() if len(signs) == 1 else "level"


def valued(log: Logged) -> Valued:
    """Return what a log tells of its target, by every estimator that it has the parts for."""
    names = [name for name in ESTIMATORS if name != "DR" or log.predicted is not None]
    return Valued(
        {name: ESTIMATORS[name](log) for name in names},
        effective_sample_size(log.weights) / design_effect(log),
        float(log.weights.mean()),
    )


def preview(first: Logged, second: Logged, least_effect: float = LEAST_EFFECT, needed: float | None = None) -> Preview:
    """Compare two policies on one log.

    Args:
        first: the log with A as its target.
        second: the same log with B as its target.
        least_effect: relative difference that the log must be able to show; with it ``needed`` is 16 s^2 / d^2 (Lehr).
        needed: effective sample size that is wanted, in place of that.

    Raises:
        UsageError: if ``least_effect`` or ``needed`` is not above 0.
        DataError: if the logs are not the same.
    """
    if least_effect <= 0 or (needed is not None and needed <= 0):
        raise UsageError(f"The least effect is {least_effect:g}, the wanted size {needed}.", "Give numbers above 0.")
    if len(first.rewards) != len(second.rewards) or not np.array_equal(first.rewards, second.rewards):
        raise DataError("The two logs have different rewards.", "Give one log with two targets.")
    sides = valued(first), valued(second)
    differences = {name: _difference(name, first, second) for name in sides[0].estimates if name in sides[1].estimates}
    wanted = needed if needed is not None else rows_needed(first.rewards, least_effect)
    return Preview(*sides, differences, wanted, len(first.rewards), len(np.unique(first.shoppers)))


def rows_needed(rewards: Floats, least_effect: float = LEAST_EFFECT) -> float:
    """Return the rows of a policy's own log that show a relative difference with a power of 80 %; infinite where nothing was gained.

    >>> round(rows_needed(np.repeat([1.0, 0.0], [42, 9_958])))
    379352
    """
    mean = float(rewards.mean())
    return _POWER_FACTOR * float(rewards.var()) / (least_effect * mean) ** 2 if mean else math.inf


def _difference(name: str, first: Logged, second: Logged) -> Estimate:
    """Return the estimate of the difference: a policy's estimate is a mean over shoppers, and so is what two differ in."""
    if name == SNIPS:
        ends = [ESTIMATORS[name](log) for log in (first, second)]
        deviations = [
            log.weights * (log.rewards - end.value) / log.weights.mean() for log, end in zip((first, second), ends, strict=True)
        ]
        value = ends[1].value - ends[0].value
        rows = deviations[1] - deviations[0]
    else:
        gained = [_rows(name, log) for log in (first, second)]
        rows = gained[1] - gained[0]
        value = float(rows.mean())
        rows = rows - value
    # A log of weights 1 whose rewards are the deviations has their interval around its mean, which is 0.
    certain = np.ones(len(rows))
    around = ESTIMATORS["IPS"](
        replace(first, rewards=rows, propensities=certain, target=certain, predicted=None, predicted_target=None)
    )
    return Estimate(name, value, value + around.low, value + around.high, around.standard_error)


def _rows(name: str, log: Logged) -> Floats:
    if name == "DR":
        assert log.predicted is not None
        assert log.predicted_target is not None
        return log.predicted_target + log.weights * (log.rewards - log.predicted)
    return log.weights * log.rewards


def _sign(estimate: Estimate) -> str:
    return "better" if estimate.low > 0 else "worse" if estimate.high < 0 else "level"
