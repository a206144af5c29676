"""The value of a policy from the log of another: inverse propensity scores, self-normalised, and doubly robust.

A row is one choice: an item shown at one place of a list, an offer made, a price set. The policy that was logged chose it with a known
probability, the propensity; the policy that is asked about, the target, would have chosen it with another. With w = target / propensity
and r the reward,

- IPS is the mean of w r (Horvitz and Thompson, 1952, https://doi.org/10.1080/01621459.1952.10483446): unbiased;
- SNIPS is the sum of w r over the sum of w (Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning",
  NeurIPS 2015): a little biased on few rows, and mostly less spread;
- DR is the mean of q(target) + w (r - q(logged)), with a model q of the reward (Dudik, Langford and Li, "Doubly Robust Policy Evaluation
  and Learning", ICML 2011, https://arxiv.org/abs/1103.4601): unbiased as IPS, and the less spread the better the model. The model must
  not have seen the row: :func:`evaluation.off_policy.rewards.cross_fitted`.

For lists, a row a place is right where what is chosen at one place depends on the item there and the place alone (the item-position model;
Li et al., "Offline Evaluation of Ranking Policies with Click Models", KDD 2018, https://arxiv.org/abs/1804.10488).

Rows of one shopper are not independent: variances are those of sums over shoppers, by linearisation (Taylor). Rewards are rare and weights
large, so that sums are skewed; the intervals are those of the studentised mean transformed so that it is about normal (Hall, "On the
Removal of Skewness by Transformation", Journal of the Royal Statistical Society B 54, 1992, pages 221-228).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import DataError

Floats = npt.NDArray[np.float64]
_NORMAL_QUANTILE: Final = 1.959963984540054
_NO_SKEWNESS: Final = 1e-6
IPS, SNIPS, DR = "IPS", "SNIPS", "DR"


@dataclass(frozen=True)
class Logged:
    """Rows of a log, and what the target would have done.

    Attributes:
        rewards: [n] what came of each choice.
        propensities: [n] probability with which the logged policy made it, above 0.
        target: [n] probability with which the target would have made it.
        shoppers: [n] whose row it is, any sortable values.
        predicted: [n] model of the reward of the choice that was made; None without a model.
        predicted_target: [n] mean of the model over the choices of the target.

    Raises:
        DataError: if lengths differ, a number is none, a propensity is not in (0, 1] or a target not in [0, 1].
    """

    rewards: Floats
    propensities: Floats
    target: Floats
    shoppers: npt.NDArray[np.generic]
    predicted: Floats | None = None
    predicted_target: Floats | None = None

    def __post_init__(self) -> None:
        rows = len(self.rewards)
        for name in ("rewards", "propensities", "target", "predicted", "predicted_target"):
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != rows:
                raise DataError(f"The log has {rows:,} rewards and {len(values):,} {name}.", "Give one a row.")
            if not np.isfinite(values).all():
                raise DataError(
                    f"{name} holds {values[~np.isfinite(values)][0]} in row {int(np.argmin(np.isfinite(values)))}.",
                    "Give numbers.",
                )
        if len(self.shoppers) != rows or not rows:
            raise DataError(
                f"The log has {rows:,} rewards and {len(self.shoppers):,} shoppers.", "Give one a row, and at least one row."
            )
        _require_within(
            "propensities", self.propensities, (self.propensities > 0) & (self.propensities <= 1), "above 0 and at most 1"
        )
        _require_within("target", self.target, (self.target >= 0) & (self.target <= 1), "from 0 to 1")

    @property
    def weights(self) -> Floats:
        """[n] target over propensity."""
        return self.target / self.propensities


@dataclass(frozen=True)
class Estimate:
    """The value of a policy.

    Attributes:
        name: of the estimator, ``IPS``, ``SNIPS`` or ``DR``.
        value: mean reward of a choice.
        low: lower end of the 95 % interval; NaN where there is none.
        high: upper end.
        standard_error: of the value, over shoppers.
    """

    name: str
    value: float
    low: float
    high: float
    standard_error: float


def effective_sample_size(weights: Floats) -> float:
    """Return how many rows of the target's own log would tell as much: (sum of w)^2 / sum of w^2 (Kish, 1965).

    >>> effective_sample_size(np.array([1.0, 1.0, 0.0, 0.0]))
    2.0
    """
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def ips(log: Logged) -> Estimate:
    """Estimate by inverse propensity scores."""
    gained = log.weights * log.rewards
    return _estimate(IPS, float(gained.mean()), gained - gained.mean(), log)


def snips(log: Logged) -> Estimate:
    """Estimate by self-normalised inverse propensity scores; NaN where the target would have made no choice of the log."""
    weights = log.weights
    if not weights.any():
        return Estimate(SNIPS, np.nan, np.nan, np.nan, np.nan)
    value = float(weights @ log.rewards / weights.sum())
    return _estimate(SNIPS, value, weights * (log.rewards - value) / weights.mean(), log)


def doubly_robust(log: Logged) -> Estimate:
    """Estimate by a model of the reward, corrected where the log shows it wrong.

    Raises:
        DataError: if the log has no model.
    """
    if log.predicted is None or log.predicted_target is None:
        raise DataError("The log has no model of the reward.", "Give predicted and predicted_target.")
    corrected = log.predicted_target + log.weights * (log.rewards - log.predicted)
    return _estimate(DR, float(corrected.mean()), corrected - corrected.mean(), log)


ESTIMATORS: Final[Mapping[str, Callable[[Logged], Estimate]]] = {IPS: ips, SNIPS: snips, DR: doubly_robust}


def design_effect(log: Logged) -> float:
    """Return how many times the variance of SNIPS grows because rows of one shopper are alike; at least 1 (Kish, 1965)."""
    estimate = snips(log)
    if not np.isfinite(estimate.value) or estimate.standard_error == 0:
        return 1.0
    weights = log.weights
    alone = weights * (log.rewards - estimate.value) / weights.mean()
    rows = len(alone)
    variance = float(alone @ alone) / (rows * max(rows - 1, 1))
    return max(1.0, estimate.standard_error**2 / variance)


def _estimate(name: str, value: float, deviations: Floats, log: Logged) -> Estimate:
    """Return the estimate whose value is, to first order, a mean of rows that deviate so from it."""
    distinct, code = np.unique(log.shoppers, return_inverse=True)
    shoppers = len(distinct)
    if shoppers < 2:
        return Estimate(name, value, np.nan, np.nan, np.nan)
    sums = np.bincount(code, deviations, shoppers)
    squares = float(sums @ sums)
    if squares == 0:  # nothing was gained, or all the same: that is no certainty
        return Estimate(name, value, np.nan, np.nan, 0.0)
    error = float(np.sqrt(shoppers / (shoppers - 1) * squares)) / len(deviations)
    skewness = float(np.sum(sums**3)) / squares**1.5
    return Estimate(name, value, value - error * _unskewed(1, skewness), value - error * _unskewed(-1, skewness), error)


def _unskewed(side: int, skewness: float) -> float:
    """Return the quantile of the studentised mean at the 97.5 % (``side`` 1) or 2.5 % (-1) of the normal, by Hall's transformation.

    >>> round(_unskewed(1, 1e-9), 3), round(_unskewed(-1, 0.3), 3)
    (1.96, -2.65)
    """
    if abs(skewness) < _NO_SKEWNESS:
        return side * _NORMAL_QUANTILE
    return float(3 / skewness * (np.cbrt(1 + skewness * (side * _NORMAL_QUANTILE - skewness / 6)) - 1))


def _require_within(name: str, values: Floats, good: npt.NDArray[np.bool_], wanted: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(f"{name} holds {values[row]:g} in row {row}.", f"Give probabilities {wanted}.")
