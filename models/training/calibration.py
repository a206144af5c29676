"""Logits into probabilities that mean what they say, for one line of a cart and for the cart.

Platt scaling: J. Platt, "Probabilistic outputs for support vector machines", 1999 (a logistic regression on the logit, with his
smoothed targets). The cart head is a logistic regression over the logits of the cart's lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from models.training.tables import Array

MIN_ROWS: Final = 20
"""Fewer validation rows than this calibrate nothing."""
MIN_OF_A_CLASS: Final = 5
"""Nor do fewer rows of one label than this."""
HEAD_FEATURES: Final = ("max_logit", "mean_logit", "log1p_lines")
_RIDGE: Final = 1e-3
_ALMOST_SURE: Final = 1.0 - 1e-9
_MAX_STEPS: Final = 100


@dataclass(frozen=True)
class Platt:
    """``P(label) = sigmoid(slope * logit + intercept)``.

    Attributes:
        slope: > 0, so calibration never changes an order.
        intercept: in log-odds.
        note: a sentence where the fit was not the usual one, else empty.
    """

    slope: float = 1.0
    intercept: float = 0.0
    note: str = ""

    def probability(self, logit: Array) -> Array:
        """Return probabilities, float64."""
        return sigmoid(self.slope * logit.astype(np.float64) + self.intercept)

    def content(self) -> dict[str, float]:
        """Return what ``calibration.json`` holds."""
        return {"slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True)
class CartHead:
    """The log-odds that any line of a cart is bought: ``weights . HEAD_FEATURES + bias``, over the uncalibrated logits of its lines.

    Attributes:
        weights: one for each of ``HEAD_FEATURES``.
        bias: in log-odds.
        note: a sentence where the fit was not the usual one, else empty.
    """

    weights: tuple[float, ...] = field(default=(1.0, 0.0, 0.0))
    bias: float = 0.0
    note: str = ""

    @classmethod
    def of_line(cls, lines: Platt, note: str = "") -> CartHead:
        """Return the head that gives a cart the chance of its likeliest line, which is that of a cart of one line."""
        return cls((lines.slope, 0.0, 0.0), lines.intercept, note)

    def log_odds(self, features: Array, lines: Platt) -> Array:
        """Return the log-odds of carts, float64 ``[C]``.

        Whatever the head says, any of n lines is bought at least as often as the likeliest one, and at most n times as often. Where
        the head has no weights it is a base rate, which no line raises (no line is then answered more than it, see
        ``capped``); where the lines have no slope either, both are base rates, and that of carts is answered as it is.

        Args:
            features: ``HEAD_FEATURES``, ``[C, 3]``.
            lines: the calibration of lines.
        """
        if not any(self.weights) and lines.slope == 0:
            return np.full(len(features), self.bias)
        least, most = cart_bounds(features, lines)
        within = np.minimum(features @ np.asarray(self.weights) + self.bias, most)
        return np.maximum(least, within) if any(self.weights) else within

    def capped(self, lines: Array, carts: Array, calibration: Platt) -> Array:
        """Return the log-odds of lines, ``[N]``: at most those of their carts ``[N]`` where these get a base rate and lines do not."""
        return lines if any(self.weights) or calibration.slope == 0 else np.minimum(lines, carts)

    def content(self) -> dict[str, Any]:
        """Return what ``head.json`` holds."""
        return {"features": list(HEAD_FEATURES), "weights": list(self.weights), "bias": self.bias}


def fit_platt(logit: Array, label: Array) -> Platt:
    """Fit Platt scaling on validation rows.

    With too few rows or one class only, the logit is kept as it is; where a higher logit goes with fewer labels, only the
    intercept is fitted, because calibration must not turn an order round.

    Args:
        logit: ``[N]``.
        label: 0 or 1, ``[N]``.
    """
    reason = too_few(label, "validation rows")
    if reason:
        return Platt(note=f"calibration: {reason}, so logits are used as they are")
    logits = logit.astype(np.float64)
    targets = smoothed(label)
    (slope,), intercept = fit_logistic(logits[:, None], targets)
    if slope > 0:
        return Platt(float(slope), intercept)
    _, intercept = fit_logistic(np.zeros((len(logits), 0)), targets, offset=logits)
    return Platt(
        1.0, intercept, "calibration: on validation a higher logit did not mean more purchases, so only the intercept was fitted"
    )


def cart_bounds(features: Array, lines: Platt) -> tuple[Array, Array]:
    """Return the log-odds of the likeliest line of each cart and those of as many times its chance as the cart has lines, ``[C]`` each.

    Args:
        features: ``HEAD_FEATURES``, ``[C, 3]``.
        lines: the calibration of lines.
    """
    likeliest = lines.slope * features[:, 0] + lines.intercept
    most = np.minimum(np.expm1(features[:, 2]) * sigmoid(likeliest), _ALMOST_SURE)
    return likeliest, np.log(most) - np.log1p(-most)


def head_features(cart: Sequence[str] | Array, logit: Array) -> tuple[Array, Array]:
    """Sum up each cart's lines, as training and evaluation both do.

    Args:
        cart: the cart of each line, ``[N]``.
        logit: of each line, uncalibrated, ``[N]``.

    Returns:
        ``HEAD_FEATURES`` of each cart ``[C, 3]`` float64, in the order in which carts first appear, and the first line of each ``[C]``.
    """
    _, first, inverse, counts = np.unique(np.asarray(cart), return_index=True, return_inverse=True, return_counts=True)
    largest = np.full(len(counts), -np.inf)
    np.maximum.at(largest, inverse, logit.astype(np.float64))
    mean = np.bincount(inverse, weights=logit.astype(np.float64)) / counts
    order = np.argsort(first)
    return np.stack([largest, mean, np.log1p(counts)], axis=1)[order], first[order]


def fit_logistic(features: Array, targets: Array, offset: Array | None = None) -> tuple[Array, float]:
    """Fit a logistic regression by Newton's method, with a ridge so slight that it only keeps the fit finite.

    Args:
        features: ``[N, F]``.
        targets: in [0, 1], ``[N]``.
        offset: a term with fixed weight 1, ``[N]``.

    Returns:
        The weights ``[F]`` and the intercept.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    design = np.column_stack([(features - mean) / spread, np.ones(len(features))])
    fixed = np.zeros(len(features)) if offset is None else offset
    ridge = np.diag([_RIDGE] * features.shape[1] + [0.0])
    solution = np.zeros(design.shape[1])
    for _ in range(_MAX_STEPS):
        chance = sigmoid(design @ solution + fixed)
        gradient = design.T @ (chance - targets) + ridge @ solution
        curvature = np.maximum(chance * (1.0 - chance), 1e-9)
        change = np.linalg.solve((design * curvature[:, None]).T @ design + ridge, gradient)
        solution -= np.clip(change, -2.0, 2.0)  # Newton's steps overshoot far from the solution
        if np.abs(change).max() < 1e-10:
            break
    weights = solution[:-1] / spread
    return weights, float(solution[-1] - weights @ mean)


def smoothed(label: Array) -> Array:
    """Return Platt's targets: (n1 + 1) / (n1 + 2) for a positive and 1 / (n0 + 2) for a negative."""
    positives = float(np.sum(label > 0))
    return np.where(label > 0, (positives + 1) / (positives + 2), 1 / (len(label) - positives + 2))


def sigmoid(value: Array) -> Array:
    """Return 1 / (1 + exp(-value)) without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(value, dtype=np.float64))))


def too_few(label: Array, what: str) -> str:
    """Return why rows calibrate nothing, or nothing.

    Args:
        label: 0 or 1, [N].
        what: how to call the rows.
    """
    positives = int(np.sum(label > 0))
    if len(label) < MIN_ROWS:
        return f"there are {len(label)} {what}, fewer than {MIN_ROWS}"
    if min(positives, len(label) - positives) < MIN_OF_A_CLASS:
        return f"of {len(label)} {what}, {positives} are positive, where at least {MIN_OF_A_CLASS} of each label are needed"
    return ""
