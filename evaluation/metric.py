"""What a metric is: one declaration, which evaluation, leaderboards and reports iterate over.

A shop adds one in a file of its own and names it, ``[tasks.churn] metrics = ["my_shop.metrics:LIFT"]``. The suite
``cartwheel.testing.MetricConformance`` holds every metric to the same laws.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import ConfigError
from cartwheel.core.hooks import called, described, load_hook
from models.metrics.classification import expected_calibration_error, log_loss, pr_auc, roc_auc, row_log_loss
from models.metrics.decisions import row_brier
from models.metrics.quantities import poisson_deviance, rmse, row_poisson_deviance, wape
from workflows.tasks.task import Answer

Floats = npt.NDArray[np.float64]
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN: Final = ("_minus_", "_at_threshold")
"""What evaluation adds to the names of metrics."""


@dataclass(frozen=True)
class Outcome:
    """Predictions beside what came true, [n] parallel arrays.

    Attributes:
        predicted: float64; probabilities in [0, 1], or quantities of at least 0.
        truth: float64; 0 or 1 of probabilities.
    """

    predicted: Floats
    truth: Floats

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: npt.NDArray[Any]) -> Outcome:
        """Return the rows at ``rows``, which may repeat."""
        return Outcome(self.predicted[rows], self.truth[rows])

    @property
    def label(self) -> npt.NDArray[np.int64]:
        """The truth of a probability as whole numbers."""
        return self.truth.astype(np.int64)


@dataclass(frozen=True)
class Metric:
    """A metric of predictions.

    Attributes:
        name: in files, on the command line and in the configuration.
        title: for a reader.
        meaning: one sentence that says what it measures and in which unit.
        better: which direction is better.
        answers: the kinds of answers that it judges.
        rows: gives a value a row, whose mean is the metric: intervals and tests come for free. None where there is no such value.
        whole: gives the metric of all rows at once; needed where ``rows`` is None. NaN where it is not defined, as of one class only.

    >>> half = Metric("half", "Half", "Nothing but a half.", "higher", frozenset(Answer), rows=lambda outcome: np.full(len(outcome), 0.5))
    >>> half.value(Outcome(np.zeros(3), np.ones(3)))
    0.5
    """

    name: str
    title: str
    meaning: str
    better: Literal["higher", "lower"]
    answers: frozenset[Answer]
    rows: Callable[[Outcome], Floats] | None = None
    whole: Callable[[Outcome], float] | None = None

    def __post_init__(self) -> None:
        """Check that there is a way to compute it."""
        if self.rows is None and self.whole is None:
            raise ValueError(f"the metric {self.name!r} has neither rows nor whole; give it one of them")

    def value(self, outcome: Outcome) -> float:
        """Return the metric; NaN where it is not defined, or there are no rows."""
        if not len(outcome):
            return float("nan")
        if self.whole is not None:
            return float(self.whole(outcome))
        assert self.rows is not None
        return float(np.mean(self.rows(outcome)))


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
                f"A metric is called {metric.name!r}, where small letters, digits and underscores are expected, "
                f"without {' or '.join(_TAKEN)}.",
                "Give it another name.",
            )
        if metric.name in METRICS or metric.name in found:
            raise ConfigError(f"There is a metric called {metric.name!r} already.", "Give yours another name.")
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
        references: ``module:name`` of a ``Metric`` or of a function that gives one.
        answer: of the task.
        where: the setting that names them, for messages.
        folder: where the shop's modules lie.

    Raises:
        ConfigError: there is no such module or name, it is no metric, or as ``metrics_of``.
    """
    added = tuple(called(load_hook(each, where, folder), f"{where}: {each}", Metric) for each in references)
    metrics_of(answer, added)
    return added


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
