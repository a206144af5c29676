"""Logistic calibrations that go as far from the base rate as held-out shoppers bear out, group by group.

Few shoppers make most of a small validation split, so that a fit may gain by luck. From what is known without a fit one goes towards the
fit by the weight at which the lower bound of the gain in log loss on held-out shoppers is greatest: none where nothing is sure, some where
something is, nearly all of the way where everything is. It is the rule of one standard error (Breiman et al., Classification and Regression
Trees, 1984, 3.4.3) without its jump, and a shrinkage of slopes as J. C. van Houwelingen and S. le Cessie, "Predictive value of statistical
models", Statistics in Medicine 9, 1990, choose it, with shoppers in place of rows.

The bound lies below the gain by as many standard errors as luck may make of nothing once in 44 times: two for many shoppers, more by
Student's t where few have most of the rows (their effective number by L. Kish, Survey Sampling, 1965), and more again where several steps
are tried, for then each must be one that luck makes that many times less often (Bonferroni).

All groups together go from their base rate towards their fit. Each group then takes the weights of all with an intercept that meets the
share of positive rows which is known of it, from training, for training has more shoppers; and goes from there to an intercept of its own,
towards its own fit or towards its own base rate, if its own shoppers bear that out. So where nothing is sure, the answer is training's
base rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from scipy.stats import t as student

from models.training.calibration import fit_logistic, sigmoid, smoothed, too_few
from models.training.tables import Array

FOLDS: Final = 5
LUCK: Final = 0.0228
"""How often nothing but luck may look like a gain: as often as a normal deviate lies above two standard errors."""
_WEIGHTS: Final = np.linspace(0.0, 1.0, 21)
_LEAST: Final = 1e-3
"""No known share is nearer to 0 or 1 than this."""


@dataclass(frozen=True)
class Logistic:
    """``log-odds = features . weights + bias``."""

    weights: Array
    bias: float

    def log_odds(self, features: Array) -> Array:
        """Return the log-odds of rows, float64 [N]."""
        return np.asarray(features @ self.weights + self.bias)

    def towards(self, other: Logistic, weight: float) -> Logistic:
        """Return what lies between; weight 1 is the other."""
        return Logistic((1 - weight) * self.weights + weight * other.weights, (1 - weight) * self.bias + weight * other.bias)


@dataclass(frozen=True)
class GroupedRows:
    """Rows to calibrate on, [N] each.

    Attributes:
        features: [N, F].
        label: 0 or 1.
        user: whose row each is.
        group: the group of each.
        least: log-odds that no answer goes below, if it is more than a base rate.
        most: log-odds that no answer goes above.
    """

    features: Array
    label: Array
    user: Array
    group: Array
    least: Array
    most: Array

    def at(self, rows: Array) -> GroupedRows:
        """Return the rows at ``rows`` (a mask or places)."""
        return GroupedRows(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


Fit = Callable[[GroupedRows], Logistic]


def fit_groups(
    rows: GroupedRows, groups: Sequence[str], *, rising: bool = False, known: Mapping[str, float] | None = None
) -> tuple[Logistic, dict[str, Logistic]]:
    """Fit one calibration for all groups together and one for each group.

    Args:
        rows: of all groups; at least one.
        groups: the names of the groups.
        rising: whether a weight that is not positive is no fit at all, for calibration must not turn an order round.
        known: group -> the share of positive rows that is known without these; a group that is not in it starts at its own.

    Returns:
        That of all groups together, and those of the groups that have rows enough or a known share.
    """
    known = known or {}
    folds = np.unique(rows.user, return_inverse=True)[1] % FOLDS

    def fitted(part: GroupedRows) -> Logistic:
        return _fitted(part, rising=rising)

    share = _way(rows, folds, _held_out(rows, folds, base_rate), _held_out(rows, folds, fitted), fitted).weight

    def together(part: GroupedRows) -> Logistic:
        return base_rate(part).towards(fitted(part), share)

    pooled, by_fold = together(rows), {fold: together(rows.at(folds != fold)) for fold in np.unique(folds)} if share else {}
    found = {}
    for group in groups:
        own = rows.group == group
        part, its_folds, level = rows.at(own), folds[own], known.get(group)
        origin = _with_bias(pooled.weights, part, level)
        if too_few(part.label, "") or len(np.unique(its_folds)) == 1:
            if level is not None:
                found[group] = origin
            continue
        start, moved = np.zeros(len(part.label)), np.zeros(len(part.label))
        for fold in np.unique(its_folds):
            held = its_folds == fold
            weights, others = by_fold[fold].weights if share else pooled.weights, part.at(~held)
            start[held] = _with_bias(weights, others, level).log_odds(part.features[held])
            moved[held] = _with_bias(weights, others, None).log_odds(part.features[held])
        ends = [(fit, _held_out(part, its_folds, fit)) for fit in (fitted, base_rate)]
        if level is not None:
            ends.append((partial(_with_bias, pooled.weights, level=None), moved))
        ways = [_way(part, its_folds, start, end, fit, len(ends) * len(groups)) for fit, end in ends]
        way = max(ways, key=lambda each: each.gain)
        found[group] = origin.towards(way.to(part), way.weight)
    return pooled, found


def base_rate(rows: GroupedRows) -> Logistic:
    """Return what gives every row the smoothed share of positive ones."""
    rate = float(smoothed(rows.label).mean()) if len(rows.label) else 0.5
    return Logistic(np.zeros(rows.features.shape[1]), math.log(rate) - math.log1p(-rate))


def _fitted(rows: GroupedRows, *, rising: bool) -> Logistic:
    """Return the logistic regression, or the base rate where it would have to fall or there is only one label."""
    if not 0 < rows.label.sum() < len(rows.label):
        return base_rate(rows)
    weights, bias = fit_logistic(rows.features, smoothed(rows.label))
    return base_rate(rows) if rising and (weights <= 0).any() else Logistic(weights, bias)


def _with_bias(weights: Array, rows: GroupedRows, level: float | None) -> Logistic:
    """Return these weights with the bias that meets a share of positive rows, by default that of the rows; where they are 0, that share."""
    if not len(rows.label) or not weights.any() or (level is None and not 0 < rows.label.sum() < len(rows.label)):
        return base_rate(rows) if level is None else Logistic(np.zeros(len(weights)), log_odds_of(level))
    nothing = np.zeros((len(rows.label), 0))
    targets = smoothed(rows.label) if level is None else np.full(len(rows.label), float(sigmoid(np.array(log_odds_of(level)))))
    return Logistic(weights, fit_logistic(nothing, targets, offset=rows.features @ weights)[1])


def log_odds_of(share: float) -> float:
    """Return the log-odds of a share that is known, which is never taken to be quite 0 or 1."""
    share = min(max(share, _LEAST), 1 - _LEAST)
    return math.log(share) - math.log1p(-share)


def _held_out(rows: GroupedRows, folds: Array, fit: Fit) -> Array:
    """Return the log-odds of each row by a fit on the users of the other folds, [N]."""
    log_odds = np.zeros(len(rows.label))
    for fold in np.unique(folds):
        held = folds == fold
        log_odds[held] = fit(rows.at(~held)).log_odds(rows.features[held])
    return log_odds


@dataclass(frozen=True)
class _Way:
    """How far to go towards a fit.

    Attributes:
        to: the fit.
        weight: from 0 to 1.
        gain: the lower bound of the gain in log loss on held-out users; 0 where no step is sure.
    """

    to: Fit
    weight: float
    gain: float


def _way(rows: GroupedRows, folds: Array, start: Array, end: Array, to: Fit, tried: int = 1) -> _Way:
    """Return how far to go from log-odds of held-out users, [N], towards those of a fit, which is one of so many steps that are tried."""
    users = np.unique(rows.user, return_inverse=True)[1]
    if not folds.any():  # one user: nobody is held out
        return _Way(to, 0.0, 0.0)

    def loss(weight: float) -> Array:
        mixed = (1 - weight) * start + weight * end
        log_odds = np.minimum(mixed, rows.most)
        if not _is_flat(mixed, folds):
            log_odds = np.maximum(rows.least, log_odds)
        return np.asarray(np.logaddexp(0.0, log_odds) - rows.label * log_odds)

    before = loss(0.0)
    errors = standard_errors(users, tried)
    gains = [_sure_gain(before - loss(weight), users, errors) for weight in _WEIGHTS]
    best = int(np.argmax(gains))
    return _Way(to, float(_WEIGHTS[best]), gains[best])


def _is_flat(log_odds: Array, folds: Array) -> bool:
    """Tell whether all rows of each fold get one answer: a base rate, and not what a model makes of them."""
    return all(np.ptp(log_odds[folds == fold]) == 0 for fold in np.unique(folds))


def standard_errors(users: Array, tried: int) -> float:
    """Return by how many standard errors a gain must exceed 0 not to be luck.

    Args:
        users: whose row each is, as numbers from 0, [N].
        tried: the number of steps of which any might gain by luck.
    """
    rows = np.bincount(users)
    effective = float(rows.sum()) ** 2 / float(np.square(rows).sum())
    return float(student.ppf(1 - LUCK / tried, max(effective - 1, 1.0)))


def _sure_gain(gain: Array, users: Array, errors: float) -> float:
    """Return the mean gain less so many standard errors, where the rows of a user come together: their deviations count as one."""
    deviations = np.bincount(users, weights=gain - gain.mean())
    number = len(deviations)
    error = math.sqrt(float(np.square(deviations).sum()) * number / (number - 1)) / len(gain)
    return float(gain.mean()) - errors * error
