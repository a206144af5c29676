"""Metrics of yes/no decisions at a threshold, and the choice of the threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.metrics.classification import Floats, Labels, Numbers


def row_brier(label: Labels, probability: Numbers) -> Floats:
    """Return [n] the squared difference of probability and label, whose mean is the Brier score.

    Brier, 1950, https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2.

    >>> row_brier(np.array([1, 0]), np.array([0.8, 0.5])).round(4)
    array([0.04, 0.25])
    """
    result: Floats = (probability.astype(np.float64) - label) ** 2
    return result


@dataclass(frozen=True)
class Decisions:
    """How often a yes/no decision was right and wrong.

    The table that all metrics of decisions are defined on (Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 2006,
    https://doi.org/10.1016/j.patrec.2005.10.010).

    Attributes:
        true_positive: said yes, was yes.
        false_positive: said yes, was no.
        true_negative: said no, was no.
        false_negative: said no, was yes.
    """

    true_positive: float
    false_positive: float
    true_negative: float
    false_negative: float

    @property
    def accuracy(self) -> float:
        """Share of right decisions, (TP + TN) / (TP + FP + TN + FN); NaN without rows."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """Share of yes that were right, TP / (TP + FP); NaN where it never says yes."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of true rows that it finds, TP / (TP + FN); NaN where there are none."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN) (van Rijsbergen, 1979); NaN where there is neither."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)


def decide(label: Labels, probability: Numbers, threshold: float, weight: Floats | None = None) -> Decisions:
    """Say yes to every row of at least ``threshold`` and count.

    Args:
        label: [n] 0 or 1.
        probability: [n].
        threshold: the least probability that gets a yes.
        weight: [n] how often each row counts; None is once.

    >>> found = decide(np.array([1, 1, 0, 0]), np.array([0.9, 0.2, 0.6, 0.1]), 0.5)
    >>> found.accuracy, found.precision, found.recall, found.f1
    (0.5, 0.5, 0.5, 0.5)
    """
    cells = decision_columns(label, probability, threshold)
    return Decisions(*(cells.sum(axis=0) if weight is None else weight @ cells).tolist())


def decision_columns(label: Labels, probability: Numbers, threshold: float) -> Floats:
    """Return [n, 4] 1 in the column of what became of the row, 0 elsewhere, the columns in the order of ``Decisions``.

    All of ``Decisions`` are functions of the sums of these columns, so sums over users resample them.

    >>> decision_columns(np.array([1, 0]), np.array([0.9, 0.1]), 0.5)
    array([[1., 0., 0., 0.],
           [0., 0., 1., 0.]])
    """
    yes, true = probability >= threshold, label == 1
    result: Floats = np.column_stack([yes & true, yes & ~true, ~yes & ~true, ~yes & true]).astype(np.float64)
    return result


def cost_optimal_threshold(label: Labels, probability: Numbers, false_positive: float, false_negative: float) -> float:
    """Return the threshold that costs least on these rows, the highest of those that cost the same.

    Choose it on validation rows, never on those that judge. For calibrated probabilities it approaches
    false_positive / (false_positive + false_negative) (Elkan, IJCAI 2001).

    Args:
        label: [n] 0 or 1, at least one row.
        probability: [n].
        false_positive: cost of a wrong yes, positive.
        false_negative: cost of a wrong no, positive.

    Returns:
        One of the probabilities, or infinity where it is cheapest always to say no.

    >>> cost_optimal_threshold(np.array([1, 0, 1, 0]), np.array([0.9, 0.6, 0.5, 0.1]), false_positive=1.0, false_negative=3.0)
    0.5
    """
    thresholds, wrong_yes, wrong_no = _errors(label, probability)
    return _highest_of_the_best(thresholds, -(wrong_yes * false_positive + wrong_no * false_negative))


def f1_optimal_threshold(label: Labels, probability: Numbers) -> float:
    """Return the threshold of the highest F1 on these rows, the highest of those with the same.

    Choose it on validation rows, never on those that judge. For calibrated probabilities it approaches half of the F1 that it reaches
    (Lipton, Elkan and Naryanaswamy, ECML PKDD 2014, https://doi.org/10.1007/978-3-662-44851-9_15).

    Args:
        label: [n] 0 or 1, at least one of them 1.
        probability: [n].

    Returns:
        One of the probabilities.

    >>> f1_optimal_threshold(np.array([1, 0, 1, 0]), np.array([0.9, 0.6, 0.5, 0.1]))
    0.5
    """
    thresholds, wrong_yes, wrong_no = _errors(label, probability)
    found = np.count_nonzero(label == 1) - wrong_no
    return _highest_of_the_best(thresholds, 2 * found / (2 * found + wrong_yes + wrong_no))


def _errors(label: Labels, probability: Numbers) -> tuple[Floats, Floats, Floats]:
    """Return every threshold that tells rows apart, ascending, infinity last, and how often each says a wrong yes and a wrong no."""
    candidates, group = np.unique(probability, return_inverse=True)
    true = np.bincount(group, weights=label == 1, minlength=len(candidates))
    false = np.bincount(group, weights=label != 1, minlength=len(candidates))
    thresholds = np.append(candidates, np.inf)
    return thresholds, np.append(np.cumsum(false[::-1])[::-1], 0.0), np.append(0.0, np.cumsum(true))


def _highest_of_the_best(thresholds: Floats, worth: Floats) -> float:
    return float(thresholds[len(worth) - 1 - int(np.argmax(worth[::-1]))])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
