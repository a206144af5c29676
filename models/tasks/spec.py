"""The specification of a declared task for training and evaluation: its ``task.json``."""

from __future__ import annotations

from dataclasses import dataclass

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import TaskLayout
from cartwheel.core.tables import read_json
from workflows.tasks.task import Answer, Entity, declared_answer


@dataclass(frozen=True)
class TaskSpec:
    """A task as prepare described it.

    Attributes:
        name: of the task.
        title: for readers.
        entity: who or what it is about.
        answer: what answers it.
        learners: names of those that are tried; empty for all that can answer.
        false_positive: what a wrong yes costs.
        false_negative: what a wrong no costs.
        metrics: names, or ``module:name``, of the metrics that the shop added.
        horizon_days: length of the window that the label looks at; 0 where there is none.
        cost_of_treatment: what treating a row costs.
        value_of_outcome: what one unit of the label is worth.
    """

    name: str
    title: str
    entity: Entity
    answer: Answer
    learners: tuple[str, ...] = ()
    false_positive: float = 1.0
    false_negative: float = 1.0
    metrics: tuple[str, ...] = ()
    horizon_days: float = 0.0
    cost_of_treatment: float = 0.0
    value_of_outcome: float = 1.0

    @staticmethod
    def read(layout: TaskLayout) -> TaskSpec:
        """Read ``task.json``.

        Raises:
            RunError: if it is missing or describes no task.
        """
        content = read_json(layout.spec)
        try:
            return TaskSpec(
                content["name"],
                content["title"],
                Entity(content["entity"]),
                declared_answer(content["answer"]),
                tuple(content["learners"]),
                float(content["costs"]["false_positive"]),
                float(content["costs"]["false_negative"]),
                tuple(content.get("metrics", ())),
                float(content.get("horizon_days", 0.0)),
                float(content.get("treatment", {}).get("cost", 0.0)),
                float(content.get("treatment", {}).get("value", 1.0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{layout.spec} does not describe a task ({error}).", "Run `cartwheel prepare` again.") from None
