"""Calendar features: hour, weekday and day of the month of the anchor, in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

import polars as pl

from workflows.events.event_log import EventLog, instants
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import FeatureFamily, Moments, Past


class Calendar(FeatureFamily):
    """The calendar of the anchor."""

    name: ClassVar[str] = "calendar"
    owner: ClassVar[Owner] = Owner.MOMENT
    columns = (
        Column("hour", Owner.MOMENT, Kind.CALENDAR, "hour of the day (UTC)"),
        Column("weekday", Owner.MOMENT, Kind.CALENDAR, "weekday, Monday = 1 (UTC)"),
        Column("day_of_month", Owner.MOMENT, Kind.CALENDAR, "day of the month (UTC)"),
    )

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return hour, weekday and day of the month of the anchors."""
        del log
        clock = pl.DataFrame({"at": instants(at.anchor)})
        parts = {"hour": pl.col("at").dt.hour(), "weekday": pl.col("at").dt.weekday(), "day_of_month": pl.col("at").dt.day()}
        return clock.select(**{name: part.cast(pl.Int64) for name, part in parts.items()})

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return hour, weekday and day of the month of one anchor."""
        at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=past.anchor)
        return {"hour": at.hour, "weekday": at.isoweekday(), "day_of_month": at.day}
