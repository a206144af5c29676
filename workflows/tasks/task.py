"""A task as one object: entity, anchors, label and learners.

A task is declared: in the configuration (``[tasks.<name>]``), or in a Python file of the shop that builds a ``Task``. The engines that
build examples, train, judge, export and serve iterate over declarations and know none by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from workflows.events.event_log import EventLog
from workflows.features.column import Kind
from workflows.features.family import Event, Ints, Moments

Floats = npt.NDArray[np.float64]


class Answer(Enum):
    """What kind of value answers a task."""

    PROBABILITY = "probability"
    QUANTITY = "quantity"
    EFFECT = "effect"
    """How much a treatment moves an outcome: what comes with it less what comes without. Of rows of a table that were treated or not."""
    RANKING = "ranking"
    """The score orders the rows of one list, and only differences within a list mean something. Learners order candidates by it; no
    declared task asks for it."""


DECLARED_ANSWERS: Final = (Answer.PROBABILITY, Answer.QUANTITY)
"""What the label of a declared task can be."""


def declared_answer(value: str) -> Answer:
    """Return the answer of a declared task by its name.

    Raises:
        ValueError: there is none of that name.

    >>> declared_answer("quantity")
    <Answer.QUANTITY: 'quantity'>
    """
    named = {answer.value: answer for answer in (*DECLARED_ANSWERS, Answer.EFFECT)}
    if value not in named:
        raise ValueError(f"the answer is {value!r}, where {' or '.join(named)} is expected")
    return named[value]


class Entity(Enum):
    """Who or what a prediction is about."""

    USER = "user"
    ITEM = "item"
    SESSION = "session"
    ROW = "row"
    """A row of a table that the shop brings, with its label in it."""


@dataclass(frozen=True)
class Labels:
    """What came true: [Q] parallel to the moments.

    Attributes:
        value: float64; 0 or 1 of a probability; NaN where there is nothing to predict, as with the price of a purchase that never came.
        known_at: int64, the instant from which on the truth is known, microseconds: where the label's window ends. A row whose truth is
            known only after the next split begins, or after the log ends (it is censored), neither trains nor tests.
    """

    value: Floats
    known_at: Ints


class AnchorRule(ABC):
    """When a task asks, and about whom.

    Attributes:
        every_us: the step of anchors that stand on a grid, microseconds: asked for ``start``, ``start + every_us`` and so on. None where
            they stand where events of the log put them.
    """

    every_us: int | None = None

    @abstractmethod
    def moments(self, log: EventLog, start: int, stop: int) -> Moments:
        """Return the moments with ``start <= anchor < stop`` (microseconds), by anchor and then by entity, none twice."""


class Label(ABC):
    """The label of a task.

    Attributes:
        answer: what kind of value it is.
        horizon_us: how long after the anchor the truth is known at the latest, microseconds; 0 where that differs from row to row.
    """

    answer: Answer
    horizon_us: int

    @property
    def window_us(self) -> int:
        """Length of one window, microseconds: the horizon, where only the window that begins with the anchor is asked about."""
        return self.horizon_us

    @abstractmethod
    def of(self, log: EventLog, at: Moments) -> Labels:
        """Return the labels, vectorised; nothing before the anchor is looked at."""

    @abstractmethod
    def recompute(self, future: Future) -> float:
        """Return the label of one moment in the plainest code."""

    def check(self, log: EventLog) -> None:
        """Raise a ``ConfigError`` where the log has nothing of what the label asks for, such as its event type."""
        del log


@dataclass(frozen=True)
class Future:
    """What ``Label.recompute`` may look at.

    Attributes:
        entity: id of the user, item or session.
        anchor: microseconds since 1970 UTC.
        events: the events at or after ``anchor``, in time order: of the user; of the item; for a session those of its shopper, of which
            the session's own have its name in ``session``.
        ahead: how many windows lie between the anchor and the one that is asked about.
    """

    entity: str
    anchor: int
    events: Sequence[Event]
    ahead: int = 0


@dataclass(frozen=True)
class TaskSplit:
    """Where a task is split otherwise than ``[prepare]`` splits the log; microseconds since 1970 UTC, None where it is not given.

    Attributes:
        valid_from: where validation begins.
        test_from: where test begins.
        test_at: the one instant at which the test split is asked; it begins there.
    """

    valid_from: int | None = None
    test_from: int | None = None
    test_at: int | None = None


@dataclass(frozen=True)
class RowTable:
    """The table of a task about rows.

    Attributes:
        path: a file, a folder or a glob; a relative one starts at the folder of the configuration file.
        label: its column that is to be predicted.
        time: its column that rows are split by; empty to split by the order of the rows.
        positive: the value of a label of two values that counts as yes; empty for true, yes or 1.
        leave_out: its columns that are no features.
        kinds: column -> what it means, where its type does not show it (a category in digits).
        shuffled: whether rows without a time are split at random.
        treatment: its column that says what was done to a row; empty where nothing was. The answer is the effect of it on the label.
        treated: the value of that column that is the treatment; empty for true, yes or 1.
        control: the value that stands beside it; rows with other values are left out. Empty for all other values.
    """

    path: str
    label: str
    time: str = ""
    positive: str = ""
    leave_out: tuple[str, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    shuffled: bool = False
    treatment: str = ""
    treated: str = ""
    control: str = ""


@dataclass(frozen=True)
class Task:
    """A question that a shop asks of its log.

    Attributes:
        name: in the configuration, in files, and the name of its ensemble.
        title: one line for a reader of the report.
        entity: who or what it is about.
        anchors: when it is asked; None for rows of a table.
        label: what counts as true; None for rows of a table, which bring it.
        answer: what kind of value answers it; None for rows of a table, whose label decides.
        families: the feature families that it sees (``workflows.features.registry``): names, or ``module:name`` of the shop's own.
        learners: names of the learners that are tried (``models.families.registry``), empty for all that can; validation decides which
            is served.
        metrics: ``module:name`` of metrics of the shop's own, beside those of its kind of answer.
        cost_of_false_positive: what a wrong yes costs; with the other one it decides the threshold.
        cost_of_false_negative: what a wrong no costs, in the same unit.
        split: where it is split otherwise than ``[prepare]`` splits the log.
        max_examples: most examples of a split; of more a sample is drawn with the seed.
        table: the table of a task about rows.
        cost_of_treatment: what treating a row costs, in the unit of the outcome times its value.
        value_of_outcome: what one unit of the outcome is worth.
    """

    name: str
    title: str
    entity: Entity
    anchors: AnchorRule | None
    label: Label | None
    answer: Answer | None
    families: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()
    cost_of_false_positive: float = 1.0
    cost_of_false_negative: float = 1.0
    split: TaskSplit = TaskSplit()
    max_examples: int = 200_000
    table: RowTable | None = None
    metrics: tuple[str, ...] = ()
    cost_of_treatment: float = 0.0
    value_of_outcome: float = 1.0
