"""One task's records as the report reads them: who was evaluated, in which order, and how the model stands to each baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from evaluation.figures import DIFFERENCE, LOWER_IS_BETTER, Evaluation, Record, Role
from evaluation.report.terminal import JUDGED_BY, Outcome, outcome
from workflows.tasks.task_names import OF_FORMS, RETRIEVAL, TWO_STAGE


@dataclass(frozen=True)
class Standing:
    """The model against one baseline by the metric of the verdict."""

    baseline: str
    difference: Record
    outcome: Outcome


@dataclass(frozen=True)
class TaskView:
    """The records of one task."""

    task: str
    records: tuple[Record, ...]
    model_names: frozenset[str]
    """Trained models of any task: where one stands as a baseline (the first stage beside both) it is not a simple one."""

    @property
    def metric(self) -> str | None:
        """What the verdict is about; None where the task has no such metric."""
        return next((name for name in JUDGED_BY if any(record.metric == name for record in self.records)), None)

    @property
    def k(self) -> int | None:
        """The cutoff that the verdict is about."""
        return next((record.k for record in self.records if record.metric == self.metric), None)

    @cached_property
    def roles(self) -> dict[str, Role]:
        """Each evaluated model with its role, best by the metric of the verdict first, those without a value last."""
        roles = {record.model: record.role for record in self.records if record.role != "task"}
        place = {model: number for number, model in enumerate(roles)}

        def key(model: str) -> tuple[bool, float, int]:
            value = self.value(model)
            return value is None, -(value or 0.0), place[model]

        return {model: roles[model] for model in sorted(roles, key=key)}

    @property
    def model(self) -> str | None:
        """The trained model."""
        return next((model for model, role in self.roles.items() if role == "model"), None)

    def find(self, model: str, metric: str, k: int | None) -> Record | None:
        """Return the record of a figure, or None."""
        return self._index.get((model, metric, k))

    def value(self, model: str) -> float | None:
        """Return the model's figure by the metric of the verdict."""
        found = self.find(model, self.metric or "", self.k)
        return None if found is None else found.value

    def cutoffs(self, metric: str) -> list[int]:
        """Return the cutoffs at which a metric is told, ascending."""
        return sorted({record.k for record in self.records if record.metric == metric and record.k is not None})

    @property
    def has_lists(self) -> bool:
        """Whether the task's answers are lists."""
        return self.metric == "ndcg"

    @property
    def simple(self) -> list[str]:
        """The baselines that have a figure, best first, without the model's own first stage."""
        return [
            model
            for model, role in self.roles.items()
            if role == "baseline" and model not in self.model_names and self.value(model) is not None
        ]

    @property
    def standings(self) -> list[Standing]:
        """How the model stands to each baseline, the strongest baseline first."""
        name = f"{self.metric}{DIFFERENCE}"
        found = {
            record.baseline: record
            for record in self.records
            if record.metric.startswith(name) and record.k == self.k and record.baseline is not None
        }
        return [Standing(model, found[model], outcome(found[model])) for model in self.roles if model in found]

    @cached_property
    def _index(self) -> dict[tuple[str, str, int | None], Record]:
        return {(record.model, record.metric, record.k): record for record in self.records}

    @property
    def why_none(self) -> str:
        """Why the task has no figures."""
        reasons = dict.fromkeys(record.reason for record in self.records if record.value is None and record.reason)
        return "; ".join(reason for reason in reasons if reason) or "nothing was judged"


def task_views(evaluation: Evaluation) -> list[TaskView]:
    """Return one view a task, what is served first."""
    models = frozenset(record.model for record in evaluation.records if record.role == "model")
    order: Sequence[str] = (TWO_STAGE, RETRIEVAL)
    tasks = [
        *(task for task in order if task in evaluation.tasks),
        *(task for task in evaluation.tasks if task not in order),
    ]
    return [TaskView(task, tuple(each for each in evaluation.records if each.task == task), models) for task in tasks]


def without_forms(views: Sequence[TaskView]) -> list[TaskView]:
    """Leave out the forms of request, which have a table of their own among the segments."""
    return [view for view in views if view.task not in OF_FORMS]


def is_better(metric: str, value: float, other: float) -> bool:
    """Return whether one figure of a metric is better than another."""
    return value < other if metric in LOWER_IS_BETTER else value > other
