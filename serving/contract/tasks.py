"""The client interface of a declared task: inputs, types and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from serving.contract.tensors import Element

PARAMETER: Final = "task"
"""Parameter of the ensemble's configuration that holds the description as JSON."""
REASONS: Final = 3
"""Reasons that an answer gives."""
ENTITY: Final = "entity"
STORED: Final = ("user", "item")
"""Entities of which the server keeps the columns as of the end of the log."""
LARGEST: Final = 3.0e38
"""The largest number of a column, by absolute value; float32 ends a little above."""


@dataclass(frozen=True)
class TaskColumn:
    """One column that a request may give.

    Attributes:
        name: of the column and its tensor.
        title: in a few words.
        dtype: ``string``, ``int64`` or ``float32``.
        width: values a row; 1 where ``listed`` is false.
        listed: whether a row has several values; of strings at most ``width``, of numbers exactly so many.
    """

    name: str
    title: str
    dtype: Element
    width: int = 1
    listed: bool = False


@dataclass(frozen=True)
class TaskForm:
    """What a client must know of a task.

    Attributes:
        name: of the task and its ensemble.
        title: one line.
        entity: ``user``, ``item``, ``session`` or ``row``.
        answer: ``probability``, ``quantity`` or ``effect``.
        columns: what may be given.
        threshold: probability from which on the answer is yes, or effect above which treating pays, by the stated costs; None of a
            quantity.
        base_rate: share of yes, or mean, of the training examples.
        calibrated: whether the probability was calibrated.
        learner: which model answers.
        coverage: share of cases that the interval of a quantity is to hold; None where there is no interval.
        families: the feature families that its columns are of; none where the export does not say.
    """

    name: str
    title: str
    entity: str
    answer: Literal["probability", "quantity", "effect"]
    columns: tuple[TaskColumn, ...]
    threshold: float | None
    base_rate: float
    calibrated: bool
    learner: str = ""
    coverage: float | None = None
    families: tuple[str, ...] = ()

    @property
    def stored(self) -> bool:
        """Whether the server knows entities by their id."""
        return self.entity in STORED

    @property
    def follows(self) -> bool:
        """Whether it is about sessions and a gateway, asked with a shopper's id, can compute them from events."""
        return self.entity == "session" and bool(self.families)

    def parameter(self) -> str:
        """Return the value of the parameter ``task``."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def parsed(text: str) -> TaskForm:
        """Read what :meth:`parameter` wrote.

        Raises:
            ValueError: if it is not that.
        """
        try:
            content: Mapping[str, Any] = json.loads(text)
            columns = tuple(TaskColumn(**column) for column in content["columns"])
            return TaskForm(**{**content, "columns": columns, "families": tuple(content.get("families", ()))})
        except (KeyError, TypeError) as error:
            raise ValueError(f"{PARAMETER} holds {text[:100]!r}") from error
