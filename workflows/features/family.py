"""What a family of features is: its columns, and the same values computed fast, computed plainly, and kept for serving.

A family answers for *moments*: an entity and an instant each. It looks at what happened strictly before that instant. The conformance
suite ``cartwheel.testing.FeatureFamilyConformance`` holds ``compute`` to ``recompute`` on random logs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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
            log), by the ``owner`` of the family that is asked; -1 for one that the log does not have.
        anchor: int64, microseconds since 1970 UTC; nothing at or after it may be looked at.
    """

    entity: Ints
    anchor: Ints

    def __len__(self) -> int:
        return len(self.entity)


@dataclass(frozen=True)
class Event:
    """One event in plain values, as ``recompute`` sees it.

    Attributes:
        user: history key.
        item: item id.
        kind: event type.
        time: microseconds since 1970 UTC.
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
    price: float | None
    quantity: float | None
    category: str
    brand: str
    own: Mapping[str, Any]


class FeatureFamily(ABC):
    """Columns that are computed together."""

    name: ClassVar[str]
    owner: ClassVar[Owner]
    columns: tuple[Column, ...]

    @abstractmethod
    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns for Q moments, vectorised: a frame of [Q] rows with exactly ``columns``, of their raw types."""

    @abstractmethod
    def recompute(self, events: Sequence[Event], anchor: int) -> Mapping[str, Any]:
        """Return the values for one moment, in the plainest code.

        Args:
            events: the entity's events strictly before ``anchor``, in time order.
            anchor: microseconds since 1970 UTC.
        """
