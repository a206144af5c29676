"""Metrics of yes/no predictions; each takes optional row weights, which is how a bootstrap resamples."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]

ECE_BINS: Final = 15
"""Bins of equal width, the number that Guo et al. use."""

_EPSILON = 1e-15


class Thresholds:
    """Labelled scores sorted once, for ROC AUC and PR AUC under many row weights.

    Args:
        label: [n] 0 or 1.
        score: [n] higher means more likely 1; any monotone scale.

    >>> curve = Thresholds(np.array([0, 1, 1]), np.array([0.1, 0.8, 0.1]))
    >>> roc, pr = curve.areas()
    >>> roc, round(pr, 4)
    (0.75, 0.8333)
    """

    def __init__(self, label: Labels, score: Numbers) -> None:
        if np.isnan(score).any():
            raise ValueError("Thresholds: some scores are NaN; leave those rows out")
        distinct, group = np.unique(score, return_inverse=True)
        self._groups = len(distinct)
        self._cell = np.where(label == 1, group, group + self._groups)
        """[n] the distinct score of a row, counted on for false rows, so that one pass sums both kinds."""

    def _sums(self, weight: Floats | None) -> tuple[Floats, Floats]:
        """Return the weight of true and of false rows at each distinct score, ascending."""
        sums = np.bincount(self._cell, weights=weight, minlength=2 * self._groups).astype(np.float64)
        return sums[: self._groups], sums[self._groups :]

    def areas(self, weight: Floats | None = None) -> tuple[float, float]:
        """Return (ROC AUC, PR AUC) of the rows, each weighted; NaN where there is no true row, or for ROC AUC no false one.

        ROC AUC is P(score of a true row > score of a false row) + P(equal) / 2, the Mann-Whitney form (Hanley and McNeil, 1982,
        https://doi.org/10.1148/radiology.143.1.7063747). PR AUC is average precision, the sum over thresholds of (change of
        recall) * precision, without interpolation, which would flatter (Davis and Goadrich, ICML 2006,
        https://doi.org/10.1145/1143844.1143874).
        """
        true, false = self._sums(weight)
        n_true, n_false = float(true.sum()), float(false.sum())
        if n_true <= 0:
            return float("nan"), float("nan")
        false_below = np.cumsum(false) - false
        roc = float(np.sum(true * (false_below + false / 2.0)) / (n_true * n_false)) if n_false > 0 else float("nan")
        true_shown = n_true - (np.cumsum(true) - true)
        shown = true_shown + n_false - false_below
        precision = np.divide(true_shown, shown, out=np.zeros_like(shown), where=shown > 0)
        return roc, float(np.sum(true * precision) / n_true)


def roc_auc(label: Labels, score: Numbers, weight: Floats | None = None) -> float:
    """Return the area under the ROC curve, see ``Thresholds.areas``.

    >>> roc_auc(np.array([0, 1]), np.array([0.5, 0.5]))
    0.5
    """
    return Thresholds(label, score).areas(weight)[0]


def pr_auc(label: Labels, score: Numbers, weight: Floats | None = None) -> float:
    """Return average precision, see ``Thresholds.areas``.

    >>> pr_auc(np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.8, 0.2]))
    1.0
    """
    return Thresholds(label, score).areas(weight)[1]


def row_log_loss(label: Labels, probability: Numbers) -> Floats:
    """Return [n] -log of the probability given to what happened; probabilities are kept 1e-15 away from 0 and 1.

    Good, 1952, "Rational decisions", https://doi.org/10.1111/j.2517-6161.1952.tb00104.x.

    >>> row_log_loss(np.array([1, 0]), np.array([0.5, 0.0])).round(4)
    array([0.6931, 0.    ])
    """
    clipped = np.clip(probability.astype(np.float64), _EPSILON, 1.0 - _EPSILON)
    return np.where(label == 1, -np.log(clipped), -np.log1p(-clipped))


def log_loss(label: Labels, probability: Numbers) -> float:
    """Return the mean of ``row_log_loss``; NaN without rows.

    >>> round(log_loss(np.array([1, 0]), np.array([0.8, 0.2])), 4)
    0.2231
    """
    return float(np.mean(row_log_loss(label, probability))) if len(label) else float("nan")


def calibration_columns(label: Labels, probability: Numbers, bins: int = ECE_BINS) -> Floats:
    """Return [n, bins] label minus probability in the column of the row's bin, 0 elsewhere.

    The calibration error is a function of the sums of these columns, so sums over users resample it.
    """
    column = np.clip((probability * bins).astype(np.int64), 0, bins - 1)
    result = np.zeros((len(label), bins))
    result[np.arange(len(label)), column] = label - probability.astype(np.float64)
    return result


def expected_calibration_error(label: Labels, probability: Numbers) -> float:
    """Return the sum over bins b of (n_b / n) * |mean label - mean probability| in b, with 15 bins of equal width.

    Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599. NaN without rows.

    >>> round(expected_calibration_error(np.array([1, 0, 1, 1]), np.array([0.5, 0.5, 0.9, 0.9])), 4)
    0.05
    """
    if not len(label):
        return float("nan")
    return float(np.abs(calibration_columns(label, probability).sum(axis=0)).sum() / len(label))
