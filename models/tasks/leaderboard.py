"""The leaderboard of a task: the simplest of the learners that validation rows cannot distinguish is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import TaskLayout
from cartwheel.core.tables import read_json
from models.families.family import Floats
from models.metrics.intervals import UserBootstrap
from workflows.tasks.task import Answer, declared_answer

METRIC: Final = {Answer.PROBABILITY: "log_loss", Answer.QUANTITY: "poisson_deviance", Answer.EFFECT: "targeting_loss"}


@dataclass(frozen=True)
class Entry:
    """One learner on the validation rows.

    Attributes:
        learner: name.
        title: for readers.
        complexity: its place among families, simple first.
        value: mean loss; lower is better.
        low: lower end of the 95% interval; None where there is none.
        high: upper end.
        behind: how much higher its loss is than the lowest.
        standard_error: of ``behind``, over entities; 0 of the lowest itself.
        notes: what a reader should know of it.
    """

    learner: str
    title: str
    complexity: int
    value: float
    low: float | None
    high: float | None
    behind: float
    standard_error: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leaderboard:
    """The learners of a task, the best first.

    Attributes:
        task: name.
        title: for readers.
        answer: what answers it.
        metric: ``log_loss`` or ``poisson_deviance`` of validation rows.
        rows: validation rows.
        entities: distinct entities among them.
        served: the learner that answers.
        reason: why, in a sentence.
        entries: one a learner.
        skipped: learner -> why it was not tried.
        dropped: column -> why selection left it out.
        alone: column -> ROC AUC on validation rows of a rule of this column only, best first; empty for quantities.
    """

    task: str
    title: str
    answer: Answer
    metric: str
    rows: int
    entities: int
    served: str
    reason: str
    entries: tuple[Entry, ...]
    skipped: Mapping[str, str]
    dropped: Mapping[str, str]
    alone: Mapping[str, float]

    def write(self, layout: TaskLayout) -> None:
        """Write ``leaderboard.json``."""
        write_json(layout.leaderboard, {**asdict(self), "answer": self.answer.value, "split": "valid"})

    @staticmethod
    def read(layout: TaskLayout) -> Leaderboard:
        """Read ``leaderboard.json``.

        Raises:
            RunError: if it is missing or is no leaderboard.
        """
        content = read_json(layout.leaderboard)
        try:
            content.pop("split")
            entries = tuple(Entry(**{**each, "notes": tuple(each["notes"])}) for each in content.pop("entries"))
            alone = dict(sorted(content.pop("alone").items(), key=lambda each: -each[1]))
            return Leaderboard(**{**content, "answer": declared_answer(content["answer"])}, entries=entries, alone=alone)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{layout.leaderboard} is not a leaderboard ({error}).", "Run `cartwheel train` again.") from None


@dataclass(frozen=True)
class Candidate:
    """What is compared.

    Attributes:
        learner: name.
        title: for readers.
        complexity: see ``Learner``.
        loss: [n] of each validation row.
        notes: what a reader should know of it.
    """

    learner: str
    title: str
    complexity: int
    loss: Floats
    notes: tuple[str, ...]


def rank(
    candidates: Sequence[Candidate], entity: npt.NDArray[Any], resamples: int, seed: int
) -> tuple[tuple[Entry, ...], str, str]:
    """Order learners by loss and choose the one that is served.

    The simplest of those whose loss lies within one standard error of the lowest, by a paired bootstrap over entities (the one-standard-
    error rule, Breiman et al., Classification and Regression Trees, 1984, 3.4.3).

    Args:
        candidates: at least one.
        entity: [n] whose row each is.
        resamples: of the bootstrap.
        seed: fixes them.

    Returns:
        The entries, best first; the learner that is served; why.
    """
    losses = np.stack([each.loss for each in candidates], axis=1)
    means = losses.mean(axis=0)
    bootstrap = UserBootstrap(entity, resamples, seed)
    draws = bootstrap.means(losses)
    first = min(range(len(candidates)), key=lambda place: (means[place], candidates[place].complexity))
    spread = (draws - draws[:, [first]]).std(axis=0)
    entries = []
    for place, each in enumerate(candidates):
        interval = bootstrap.percentile(draws[:, place])
        behind = float(means[place] - means[first])
        about = (each.learner, each.title, each.complexity)
        entries.append(Entry(*about, float(means[place]), interval.low, interval.high, behind, float(spread[place]), each.notes))
    ranked = tuple(sorted(entries, key=lambda entry: (entry.value, entry.complexity)))
    alike = [entry for entry in ranked if entry.behind <= entry.standard_error]
    served = min(alike, key=lambda entry: (entry.complexity, entry.value))
    if served.learner == ranked[0].learner:
        return ranked, served.learner, f"{served.title} has the lowest loss on validation rows"
    why = f"{served.title} is the simplest whose loss is within one standard error of the lowest, that of {ranked[0].title}"
    return ranked, served.learner, why
