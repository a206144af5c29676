"""The declaration of a metric, and its input: predictions and outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workflows.tasks.task import Answer

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """Predictions beside what came true, [n] parallel arrays.

    Attributes:
        predicted: float64; probabilities in [0, 1], or quantities of at least 0.
        truth: float64; 0 or 1 of probabilities.
        series: the entity that each row is about; None where nothing is known of it.
        scale: float64, mean squared change of the row's entity from one window to the next before the test split, NaN where it is not
            known; None where the task is not asked for windows that follow one another.
    """

    predicted: Floats
    truth: Floats
    series: npt.NDArray[Any] | None = None
    scale: Floats | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: npt.NDArray[Any]) -> Outcome:
        """Return the rows at ``rows``, which may repeat."""
        series = None if self.series is None else self.series[rows]
        return Outcome(self.predicted[rows], self.truth[rows], series, None if self.scale is None else self.scale[rows])

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
