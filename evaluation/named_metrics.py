"""Metrics that a task requests by name: ``[tasks.risk] metrics = ["recall_at_false_alarms"]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from evaluation.metric_type import Floats, Metric, Outcome
from models.metrics.quantities import row_rmsse
from workflows.tasks.task import Answer

FALSE_ALARMS: Final = 0.001
"""Share of the rows that are no that may be taken for yes."""
TOP: Final = 0.1
"""Share of the rows with the highest predictions."""


def recall_at_false_alarms(outcome: Outcome) -> float:
    """Return the share of what came true that scores above all but a thousandth of the rest; NaN where there are not both.

    A row level with the last false alarm that is allowed is not found.

    >>> recall_at_false_alarms(Outcome(np.array([0.9, 0.2, 0.5, 0.1]), np.array([1.0, 1.0, 0.0, 0.0])))
    0.5
    """
    yes, no = outcome.predicted[outcome.truth == 1], outcome.predicted[outcome.truth != 1]
    if not len(yes) or not len(no):
        return float("nan")
    place = len(no) - 1 - int(FALSE_ALARMS * len(no))
    return float(np.mean(yes > np.partition(no, place)[place]))


def top_decile_share(outcome: Outcome) -> float:
    """Return the share of the true total that the tenth of the rows with the highest predictions holds; ties share their place.

    >>> top_decile_share(Outcome(np.arange(10.0), np.array([0.0, 1, 0, 0, 0, 0, 0, 0, 0, 3])))
    0.75
    """
    total = outcome.truth.sum()
    wanted = round(TOP * len(outcome))
    if not total or not wanted:
        return float("nan")
    edge = np.partition(outcome.predicted, len(outcome) - wanted)[len(outcome) - wanted]
    above, level = outcome.predicted > edge, outcome.predicted == edge
    held = outcome.truth[above].sum() + outcome.truth[level].mean() * (wanted - above.sum())
    return float(held / total)


def total_error(outcome: Outcome) -> float:
    """Return how far the predicted total is from the true one, in shares of the true one.

    >>> total_error(Outcome(np.array([1.0, 1.0]), np.array([4.0, 0.0])))
    0.5
    """
    total = outcome.truth.sum()
    return float(abs(outcome.predicted.sum() / total - 1.0)) if total else float("nan")


def rmsse_rows(outcome: Outcome) -> Floats:
    """Return [n] values whose mean is the mean over series of ``row_rmsse``; NaN where no series has a scale.

    >>> several = np.array(["a", "a", "b"])
    >>> rmsse_rows(Outcome(np.zeros(3), np.array([1.0, 1.0, 6.0]), several, np.array([1.0, 1.0, 9.0]))).mean()
    1.5
    """
    if outcome.series is None or outcome.scale is None:
        return np.full(len(outcome), np.nan)
    return row_rmsse(outcome.truth, outcome.predicted, outcome.series, outcome.scale)


NAMED: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric(
            "recall_at_false_alarms", "Recall at 0.1 % false alarms",
            "Share of what came true that is found where one in a thousand of the others is taken for it.", "higher",
            frozenset({Answer.PROBABILITY}), whole=recall_at_false_alarms,
        ),
        Metric(
            "top_decile_share", "Share of the top decile",
            "Share of the true total that is held by the tenth of the rows with the highest predictions.", "higher",
            frozenset({Answer.QUANTITY}), whole=top_decile_share,
        ),
        Metric(
            "total_error", "Error of the total", "Distance of the predicted total from the true one, as a share of the true one.",
            "lower", frozenset({Answer.QUANTITY}), whole=total_error,
        ),
        Metric(
            "rmsse", "Mean RMSSE",
            "Mean over entities of the root mean squared error, in units of how much each changed from one window to the next before.",
            "lower", frozenset({Answer.QUANTITY}), rows=rmsse_rows,
        ),
    )
}  # fmt: skip
"""Name -> metric."""
