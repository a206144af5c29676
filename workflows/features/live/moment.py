"""The request's face of ``calendar``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Final

from workflows.features.live.past import LiveFamily, LivePast, Value

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Calendar(LiveFamily):
    """The calendar of the anchor."""

    def values(self, past: LivePast) -> Mapping[str, Value]:
        """Return hour, weekday and day of the month."""
        at = _EPOCH + timedelta(microseconds=past.anchor)
        return {"hour": at.hour, "weekday": at.isoweekday(), "day_of_month": at.day}
