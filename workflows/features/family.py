"""The interface of a feature family: its columns, and the same values computed fast, recomputed plainly, and stored for serving.

A family answers for *moments*: an entity and an instant each. It looks at what happened strictly before that instant. The conformance
suite ``cartwheel.testing.FeatureFamilyConformance`` holds ``compute`` to ``recompute`` on random logs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from workflows.events.event_log import EventLog
from workflows.features.column import Column, Owner

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Moments:
    """Who is asked about, and when: [Q] parallel arrays.

    Attributes:
        entity: int64, code of the shopper (``EventLog.keys``), of the item (``EventLog.items``) or of the session (its first row in the
            log, see ``workflows.events.sessions.session_rows``), by the ``owner`` of the family that is asked; -1 for one that the log
            does not have.
        anchor: int64, microseconds since 1970 UTC; nothing at or after it may be looked at.
        ahead: int64, how many windows of the label lie between the anchor and the one that is asked about; None where that is the one that
            begins with the anchor.
    """

    entity: Ints
    anchor: Ints
    ahead: Ints | None = None

    def __len__(self) -> int:
        return len(self.entity)

    def take(self, rows: Ints) -> Moments:
        """Return the moments at ``rows``."""
        return Moments(self.entity[rows], self.anchor[rows], None if self.ahead is None else self.ahead[rows])


@dataclass(frozen=True)
class Event:
    """One event in plain values, as ``recompute`` sees it.

    Attributes:
        user: history key: the user, or "session:" and the session of an anonymous event.
        item: item id.
        kind: event type.
        time: microseconds since 1970 UTC.
        session: the session that it belongs to: the log's own name, or one found by pauses.
        interaction: whether it is of one of ``prepare.interaction_types``.
        price: None where missing.
        quantity: None where missing.
        category: "" where missing.
        brand: "" where missing.
        own: the shop's own columns of the event.
    """

    user: str
    item: str
    kind: str
    time: int
    session: str
    interaction: bool
    price: float | None
    quantity: float | None
    category: str
    brand: str
    own: Mapping[str, Any]


@dataclass(frozen=True)
class Past:
    """What ``recompute`` may look at: one entity, and what happened strictly before the anchor.

    Attributes:
        entity: id of the user, item or session; "" for one that the log does not have.
        anchor: microseconds since 1970 UTC.
        events: the events strictly before ``anchor`` in time order, those at one instant in file order: of the user; of the item; for a
            session those of its shopper, of which the session's own have its name in ``session``.
        of_item: returns the events of any item strictly before ``anchor``, likewise.
        ahead: how many windows of the label lie between the anchor and the one that is asked about.
    """

    entity: str
    anchor: int
    events: Sequence[Event]
    of_item: Callable[[str], Sequence[Event]]
    ahead: int = 0


class FeatureFamily(ABC):
    """Columns that are computed together.

    Attributes:
        name: what configurations call it.
        owner: whose values they are: ``MOMENT`` (no entity at all), ``SHOPPER``, ``SESSION`` or ``ITEM``.
        columns: what ``compute`` returns.
    """

    name: ClassVar[str]
    owner: ClassVar[Owner]
    columns: tuple[Column, ...]

    def for_label(self, label: Any) -> FeatureFamily:
        """Return the family as a task with this ``workflows.tasks.task.Label`` sees it; most look at no label.

        Raises:
            ConfigError: if the family can say nothing beside such a label.
        """
        del label
        return self

    @abstractmethod
    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns for Q moments, vectorised: a frame of [Q] rows with exactly ``columns``, of their raw types."""

    @abstractmethod
    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the values for one moment, in the plainest code; column -> value, ``Column.missing`` where it is not known."""
