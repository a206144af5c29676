"""Curves of binary predictions: ROC, cumulative gains and reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.metrics.classification import ECE_BINS, Floats, Labels, Numbers
from models.metrics.intervals import UserBootstrap


def roc_points(label: Labels, score: Numbers) -> tuple[Floats, Floats]:
    """Return false and true positive rates at every threshold, both ascending from 0 to 1.

    Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 2006, https://doi.org/10.1016/j.patrec.2005.10.010.
    Tied scores share one threshold, so the area under the straight lines between the points is ``roc_auc``.

    Args:
        label: [n] 0 or 1.
        score: [n] higher means more likely 1.

    Returns:
        Two arrays of one length; NaN where the rate has no row (one class only).

    >>> roc_points(np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.1, 0.0]))
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]))
    """
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(score[order]) != 0, True)) if len(score) else np.zeros(0, np.int64)
    true = np.concatenate([[0.0], np.cumsum(label[order] == 1)[last_of_tie]])
    false = np.concatenate([[0.0], np.cumsum(label[order] != 1)[last_of_tie]])
    with np.errstate(invalid="ignore"):
        return false / false[-1], true / true[-1]


def gains_points(label: Labels, score: Numbers) -> tuple[Floats, Floats]:
    """Return the share of rows taken and the share of ones among them, at every threshold from the highest down, both from 0 to 1.

    The cumulative gains chart (Ling and Li, "Data mining for direct marketing", KDD 1998); its second array over its first is the lift.
    Tied scores share one threshold: a straight line between points is what a random order of tied rows would find, so a constant score
    finds at the rate at which it takes.

    Args:
        label: [n] 0 or 1.
        score: [n] higher is taken first.

    Returns:
        Two arrays of one length; NaN where there is no row, or no one among them.

    >>> gains_points(np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.1, 0.0]))
    (array([0.  , 0.25, 0.75, 1.  ]), array([0. , 0.5, 1. , 1. ]))
    """
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(score[order]) != 0, True)) if len(score) else np.zeros(0, np.int64)
    taken = np.concatenate([[0.0], last_of_tie + 1.0])
    found = np.concatenate([[0.0], np.cumsum(label[order] == 1)[last_of_tie]])
    with np.errstate(invalid="ignore"):
        return taken / taken[-1], found / found[-1]


@dataclass(frozen=True)
class Reliability:
    """Said and seen in the bins that hold a row, by ascending probability."""

    rows: Floats
    """[b] rows in the bin."""
    said: Floats
    """[b] mean predicted probability."""
    seen: Floats
    """[b] share of rows with label 1."""
    low: Floats
    """[b] lower end of the 95% interval of ``seen``; NaN where there is none."""
    high: Floats
    """[b] upper end."""


def reliability(label: Labels, probability: Numbers, bootstrap: UserBootstrap, bins: int = ECE_BINS) -> Reliability:
    """Compare predicted probabilities with outcomes, in bins of equal width.

    The reliability diagram (DeGroot and Fienberg, The Statistician 1983, https://doi.org/10.2307/2987588). Of the n_b rows of bin b,
    said_b = 1/n_b * sum of p and seen_b = 1/n_b * sum of y. The bins are those of ``expected_calibration_error``, which is the mean of
    ``|seen - said|`` weighted by ``rows``.

    Args:
        label: [n] 0 or 1.
        probability: [n] predicted.
        bootstrap: resamples of the users of the n rows.
        bins: number of bins.
    """
    column = np.clip((probability * bins).astype(np.int64), 0, bins - 1)
    held, column = np.unique(column, return_inverse=True)
    inside = np.zeros((len(label), len(held)))
    inside[np.arange(len(label)), column] = 1.0
    rows = inside.sum(axis=0)
    sums = bootstrap.sums(np.hstack([inside, inside * label[:, None]]))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sums[:, len(held) :] / sums[:, : len(held)]
    intervals = [bootstrap.percentile(shares[:, number]) for number in range(len(held))]
    return Reliability(
        rows,
        probability.astype(np.float64) @ inside / rows,
        label @ inside / rows,
        np.array([np.nan if each.low is None else each.low for each in intervals]),
        np.array([np.nan if each.high is None else each.high for each in intervals]),
    )
