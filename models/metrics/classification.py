"""Metrics of binary predictions; each takes optional row weights, which the bootstrap uses to resample."""

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

    def areas(self, weight: Floats | None = None) -> tuple[float, float]:
        """Return (ROC AUC, PR AUC) of the rows, each weighted; NaN where there is no true row, or for ROC AUC no false one.

        ROC AUC is P(score of a true row > score of a false row) + P(equal) / 2, the Mann-Whitney form (Hanley and McNeil, 1982,
        https://doi.org/10.1148/radiology.143.1.7063747). PR AUC is average precision, the sum over thresholds of (change of
        recall) * precision, without interpolation, which would flatter (Davis and Goadrich, ICML 2006,
        https://doi.org/10.1145/1143844.1143874).
        """
        ones = np.ones((1, 1), np.float64)
        every = self.areas_of(np.zeros(len(self._cell), np.int64), ones) if weight is None else self.areas_of(None, weight[None])
        return float(every[0, 0]), float(every[0, 1])

    def areas_of(self, owner: npt.NDArray[np.int64] | None, counts: npt.NDArray[Any]) -> Floats:
        """Return [resamples, 2] ``areas`` under many weights at once.

        Args:
            owner: [n] the column of ``counts`` that holds a row's weight; None where each row has a column of its own.
            counts: [resamples, owners] weights.
        """
        from models.metrics.compiled import areas_of

        found = np.empty((len(counts), 2))
        areas_of(self._cell, self._groups, np.arange(len(self._cell)) if owner is None else owner, counts, found)
        return found


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
