"""Features of the predicted window in tasks with several: how far ahead it is, and when it begins."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

import numpy as np
import polars as pl

from workflows.events.event_log import DAY_US, EventLog, instants
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import FeatureFamily, Moments, Past


class WindowsAhead(FeatureFamily):
    """The place of the window and the calendar of its begin.

    Args:
        window_us: length of a window, microseconds.
    """

    name: ClassVar[str] = "windows_ahead"
    owner: ClassVar[Owner] = Owner.MOMENT
    columns = (
        Column("windows_ahead", Owner.MOMENT, Kind.NUMBER, "the window that is asked about, 1 for the one that begins at once"),
        Column("ahead_weekday", Owner.MOMENT, Kind.CALENDAR, "weekday on which that window begins, Monday = 1 (UTC)"),
        Column("ahead_day_of_month", Owner.MOMENT, Kind.CALENDAR, "day of the month on which that window begins (UTC)"),
    )

    def __init__(self, window_us: int = DAY_US) -> None:
        self._window = window_us

    def for_label(self, label: Any) -> FeatureFamily:
        """Return the family of a label's windows."""
        return WindowsAhead(label.window_us)

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return place, weekday and day of the month of the windows."""
        del log
        ahead = np.zeros(len(at), np.int64) if at.ahead is None else at.ahead
        begin = pl.DataFrame({"windows_ahead": (ahead + 1).astype(np.float32), "at": instants(at.anchor + ahead * self._window)})
        return begin.select(
            "windows_ahead",
            ahead_weekday=pl.col("at").dt.weekday().cast(pl.Int64),
            ahead_day_of_month=pl.col("at").dt.day().cast(pl.Int64),
        )

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the same of one moment."""
        begin = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=past.anchor + past.ahead * self._window)
        return {"windows_ahead": past.ahead + 1.0, "ahead_weekday": begin.isoweekday(), "ahead_day_of_month": begin.day}
