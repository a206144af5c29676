"""The own columns of the recommender's days: what the shop's calendar says of the day on which a question is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from workflows.events.asof import Ints
from workflows.events.event_log import DAY_US, EventLog
from workflows.events.side_tables import DAY
from workflows.features.column import Owner
from workflows.features.family import FeatureFamily
from workflows.features.flat_columns import FlatColumns
from workflows.features.own import OwnDay


class OwnDays(FlatColumns):
    """The own columns of days; an entity is a day, counted from 1970 UTC.

    Args:
        families: those that own days, ``workflows.features.own.OwnDay``; others are left aside.
        log: the coded events.
        until: microseconds, where training ends; see ``FlatColumns``.
    """

    def __init__(self, families: Sequence[FeatureFamily], log: EventLog, until: int) -> None:
        super().__init__(families, Owner.MOMENT, log, until)

    def days(self) -> Ints:
        """Return the days from 1970 on that a calendar has, sorted: int64."""
        names = pl.concat([family.days() for family in self.families if isinstance(family, OwnDay)]).unique()
        days = names.str.to_date(DAY, strict=False).drop_nulls().cast(pl.Int64).sort()
        return np.array(days.filter(days >= 0), dtype=np.int64)

    def _everyone(self, until: int) -> Ints:
        days: Ints = np.unique(self._log.time[self._log.time < until] // DAY_US)
        return days
