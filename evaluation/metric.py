"""The registry of metrics: declarations that evaluation, leaderboards and reports iterate over.

A shop adds one in a file of its own and names it, ``[tasks.churn] metrics = ["my_shop.metrics:LIFT"]``. The suite
``cartwheel.testing.MetricConformance`` holds every metric to the same laws.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cartwheel.core.errors import ConfigError
from cartwheel.core.hooks import called, described, load_hook
from evaluation.metric_type import Floats, Metric, Outcome
from evaluation.named_metrics import NAMED
from models.metrics.classification import expected_calibration_error, log_loss, pr_auc, roc_auc, row_log_loss
from models.metrics.decisions import row_brier
from models.metrics.quantities import poisson_deviance, rmse, row_poisson_deviance, wape
from workflows.tasks.task import Answer

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN: Final = ("_minus_", "_at_threshold")
"""What evaluation adds to the names of metrics."""


_YES: Final = frozenset({Answer.PROBABILITY})
_HOW_MANY: Final = frozenset({Answer.QUANTITY})

METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric(
            "log_loss", "Log loss", "Mean negative log likelihood of what came true, in nats.", "lower", _YES,
            rows=lambda outcome: row_log_loss(outcome.label, outcome.predicted),
            whole=lambda outcome: log_loss(outcome.label, outcome.predicted),
        ),
        Metric(
            "roc_auc", "ROC AUC", "Probability that a random positive is scored above a random negative.", "higher", _YES,
            whole=lambda outcome: roc_auc(outcome.label, outcome.predicted) if 0 < outcome.truth.mean() < 1 else float("nan"),
        ),
        Metric(
            "pr_auc", "Average precision", "Area under the curve of precision over recall.", "higher", _YES,
            whole=lambda outcome: pr_auc(outcome.label, outcome.predicted) if outcome.truth.any() else float("nan"),
        ),
        Metric(
            "brier", "Brier score", "Mean squared difference of probability and truth.", "lower", _YES,
            rows=lambda outcome: row_brier(outcome.label, outcome.predicted),
        ),
        Metric(
            "calibration_error", "Expected calibration error",
            "Mean difference of predicted and observed share over bins of probability.", "lower", _YES,
            whole=lambda outcome: expected_calibration_error(outcome.label, outcome.predicted),
        ),
        Metric(
            "mae", "Mean absolute error", "Mean absolute difference of prediction and truth, in their unit.", "lower", _HOW_MANY,
            rows=lambda outcome: np.abs(outcome.predicted - outcome.truth),
        ),
        Metric(
            "rmse", "Root mean squared error", "Root of the mean squared difference, in the unit of the truth.", "lower", _HOW_MANY,
            whole=lambda outcome: rmse(outcome.truth, outcome.predicted),
        ),
        Metric(
            "wape", "Weighted absolute percentage error", "Sum of absolute differences over the sum of the truth.", "lower", _HOW_MANY,
            whole=lambda outcome: wape(outcome.truth, outcome.predicted) if outcome.truth.any() else float("nan"),
        ),
        Metric(
            "poisson_deviance", "Poisson deviance", "Twice the log likelihood that a perfect prediction has above this one, a row.",
            "lower", _HOW_MANY,
            rows=lambda outcome: row_poisson_deviance(outcome.truth, outcome.predicted),
            whole=lambda outcome: poisson_deviance(outcome.truth, outcome.predicted),
        ),
    )
}  # fmt: skip
"""Every built-in metric of predictions by name; the first of an answer decides on validation which learner is served."""


def metrics_of(answer: Answer, added: tuple[Metric, ...] = ()) -> tuple[Metric, ...]:
    """Return the metrics that judge a kind of answer: the built-in ones, then those that a shop added.

    Raises:
        ConfigError: if the name of an added one is no name or that of another, or it judges another kind of answer.
    """
    found = {name: metric for name, metric in METRICS.items() if answer in metric.answers}
    for metric in added:
        if not _NAME.fullmatch(metric.name) or any(part in metric.name for part in _TAKEN):
            raise ConfigError(
                f"The metric name {metric.name!r} is invalid; use lower-case letters, digits and underscores, "
                f"without {' or '.join(_TAKEN)}.",
                "Give it another name.",
            )
        if metric.name in METRICS or metric.name in found or NAMED.get(metric.name, metric) is not metric:
            raise ConfigError(f"There is already a metric named {metric.name!r}.", "Give yours another name.")
        if answer not in metric.answers:
            judged = " and ".join(sorted(each.value for each in metric.answers))
            raise ConfigError(
                f"The metric {metric.name!r} judges a {judged}, and the task answers with a {answer.value}.", "Leave it out."
            )
        found[metric.name] = metric
    return tuple(found.values())


def added_metrics(references: Sequence[str], answer: Answer, where: str, folder: Path | None = None) -> tuple[Metric, ...]:
    """Return the metrics that a shop added to a task.

    Args:
        references: names of ``evaluation.named_metrics.NAMED``, or ``module:name`` of a ``Metric`` or of a function that gives one.
        answer: of the task.
        where: the setting that names them, for messages.
        folder: where the shop's modules lie.

    Raises:
        ConfigError: there is no such module or name, it is no metric, or as ``metrics_of``.
    """
    added = tuple(_added(each, where, folder) for each in references)
    metrics_of(answer, added)
    return added


def _added(reference: str, where: str, folder: Path | None) -> Metric:
    if ":" in reference:
        return called(load_hook(reference, where, folder), f"{where}: {reference}", Metric)
    if reference not in NAMED:
        close = difflib.get_close_matches(reference, NAMED, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Give one of {', '.join(NAMED)}, or module:name of your own."
        raise ConfigError(f"{where}: there is no metric {reference!r} to add.", hint)
    return NAMED[reference]


def computed(metric: Metric, outcome: Outcome) -> tuple[float, Floats | None]:
    """Compute a shop's own metric.

    Returns:
        The value, NaN where it is not defined, and [n] a value a row; None where the metric has none.

    Raises:
        ConfigError: it raises, or gives no number, or another number of values than there are rows.
    """
    try:
        value = metric.value(outcome)
        rows = None if metric.rows is None else np.asarray(metric.rows(outcome), np.float64)
    except Exception as error:
        raise ConfigError(f"The metric {metric.name!r} raised {described(error)}.", "Correct it.") from error
    if np.isinf(value):
        raise ConfigError(f"The metric {metric.name!r} is {value}, where a finite number or NaN is expected.", "Correct it.")
    if rows is not None and rows.shape != outcome.truth.shape:
        raise ConfigError(
            f"The metric {metric.name!r} gave {'x'.join(map(str, rows.shape)) or 'one'} values for {len(outcome)} rows.",
            "Give one for each row.",
        )
    return value, rows


__all__ = ["METRICS", "NAMED", "Floats", "Metric", "Outcome", "added_metrics", "computed", "metrics_of"]
