"""What a prediction is, in one object: who it is about, when it is asked, what counts as true, and who may answer.

A task is declared: in the configuration (``[tasks.<name>]``), or in a Python file of the shop that builds a ``Task``. The engines that
build examples, train, judge, export and serve iterate over declarations and know none by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

from workflows.events.event_log import EventLog
from workflows.features.family import Event, Moments

Floats = npt.NDArray[np.float64]


class Answer(Enum):
    """What kind of value answers a task."""

    PROBABILITY = "probability"
    QUANTITY = "quantity"


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
        value: float64; 0 or 1 of a probability.
        censored: bool, whether the log ends before the truth is known; such rows neither train nor test.
    """

    value: Floats
    censored: npt.NDArray[np.bool_]


class AnchorRule(ABC):
    """When a task asks, and about whom."""

    @abstractmethod
    def moments(self, log: EventLog, start: int, stop: int) -> Moments:
        """Return the moments with ``start <= anchor < stop`` (microseconds), by anchor and then by entity."""


class Label(ABC):
    """What counts as true."""

    answer: Answer
    horizon_us: int
    """How long after the anchor the truth is known, microseconds."""

    @abstractmethod
    def of(self, log: EventLog, at: Moments) -> Labels:
        """Return the labels, vectorised; nothing before the anchor is looked at."""

    @abstractmethod
    def recompute(self, events: Sequence[Event], anchor: int) -> float:
        """Return the label of one moment in the plainest code, from the entity's events at or after ``anchor``, in time order."""


@dataclass(frozen=True)
class Task:
    """A question that a shop asks of its log.

    Attributes:
        name: in the configuration, in files, and the name of its ensemble.
        title: one line for a reader of the report.
        entity: who or what it is about.
        anchors: when it is asked; None for rows of a table.
        label: what counts as true; None for rows of a table, which bring it.
        answer: what kind of value answers it.
        families: names of the feature families that it sees (``workflows.features.registry``).
        learners: names of the learners that are tried (``models.families.registry``); validation decides which is served.
        cost_of_false_positive: what a wrong yes costs; with the other one it decides the threshold.
        cost_of_false_negative: what a wrong no costs, in the same unit.
        table: path of the table of a task about rows, relative to the folder of the configuration file.
        label_column: its column that holds the label.
        time_column: its column that rows are split by; empty to split by the order of the rows.
        leave_out: its columns that are no features.
    """

    name: str
    title: str
    entity: Entity
    anchors: AnchorRule | None
    label: Label | None
    answer: Answer
    families: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()
    cost_of_false_positive: float = 1.0
    cost_of_false_negative: float = 1.0
    table: str = ""
    label_column: str = ""
    time_column: str = ""
    leave_out: tuple[str, ...] = field(default=())
