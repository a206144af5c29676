"""What is predicted, as it was in earlier windows: the last ones by themselves, and means over weeks, months and the year.

A window is as long as that of the label, and the last one ends where the anchor begins. The family is made for labels that add up, counts
and sums: those that follow one another are a series, of which simple rules (``models.families.rows.series``) need no more than this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import ConfigError
from workflows.events.asof import Floats
from workflows.events.event_log import DAY_US, EventLog, float32
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import FeatureFamily, Moments, Past
from workflows.features.timeline import Timeline
from workflows.tasks.anchor_rules import of_kinds
from workflows.tasks.future_events import FutureEvents
from workflows.tasks.task import Entity, Future

SEASON_DAYS: Final = 7
"""The last windows that are told by themselves reach back so far."""
MEAN_DAYS: Final = (7, 14, 28, 56, 112, 364)
"""How far the means reach back, where that is more than one window."""
_OWNERS: Final = {Entity.ITEM: Owner.ITEM, Entity.USER: Owner.SHOPPER}
_UNBOUND: Final = FutureEvents(Entity.ITEM, ("purchase",), "sum", 1.0, "quantity")


class PastWindows(FeatureFamily):
    """The label's own past.

    Args:
        label: of the task; without one the pieces of an item sold in a day.
    """

    name: ClassVar[str] = "past_windows"

    def __init__(self, label: FutureEvents = _UNBOUND) -> None:
        self._label = label
        self.owner = _OWNERS[label.entity]  # type: ignore[misc]
        days = label.window_us / DAY_US
        whole = {length: round(length / days) for length in MEAN_DAYS}
        self._lags = max(1, round(SEASON_DAYS / days))
        self._means = {length: windows for length, windows in whole.items() if windows > 1}
        last = (
            Column(
                f"past_{lag}",
                self.owner,
                Kind.AMOUNT,
                "the same in the last window" if lag == 1 else f"the same {lag} windows ago",
            )
            for lag in range(1, self._lags + 1)
        )
        means = (
            Column(f"past_mean_{length}d", self.owner, Kind.AMOUNT, f"the same, mean of the last {windows} windows")
            for length, windows in self._means.items()
        )
        self.columns = (*last, *means)

    def for_label(self, label: Any) -> FeatureFamily:
        """Return the family of a label that adds up; errors as in ``FeatureFamily.for_label``."""
        if not isinstance(label, FutureEvents) or not label.adds_up or label.entity not in _OWNERS:
            raise ConfigError(
                "The feature family 'past_windows' tells how many there were, or their sum, in earlier windows of days of a user or an "
                "item, and the task predicts something else.",
                'Leave it out of features, or predict as = "count" or as = "sum".',
            )
        return PastWindows(label)

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns, float32 [Q]; 0 where nothing has happened."""
        label, window = self._label, self._label.window_us
        events, values = Timeline(log, label.groups(log), of_kinds(log, label.kinds)), label.amounts(log)
        found = {}
        for lag in range(1, self._lags + 1):
            end = Moments(at.entity, at.anchor - (lag - 1) * window)
            found[f"past_{lag}"] = events.sum(values, end, window / DAY_US)
        for length, windows in self._means.items():
            found[f"past_mean_{length}d"] = events.sum(values, at, windows * window / DAY_US) / windows
        return pl.DataFrame({column.name: float32(found[column.name]) for column in self.columns})

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the same by the label's own ``recompute``, asked about windows before the anchor."""
        window = self._label.window_us

        def total(begin: int, windows: int) -> float:
            label = replace(self._label, days=windows * window / DAY_US, windows=1)
            later = [event for event in past.events if event.time >= begin]
            return label.recompute(Future(past.entity, begin, later))

        found = {f"past_{lag}": total(past.anchor - lag * window, 1) for lag in range(1, self._lags + 1)}
        means = self._means.items()
        return found | {f"past_mean_{n}d": total(past.anchor - windows * window, windows) / windows for n, windows in means}


def squared_changes(label: FutureEvents, log: EventLog, before: int) -> Floats:
    """Return the mean squared change of each entity from one window to the next, of those that follow one another and end at ``before``.

    The series begins with the first window in which there is anything (Makridakis et al., 2022).

    Args:
        label: one that adds up.
        log: the coded events.
        before: where the last window ends, microseconds.

    Returns:
        float64 [codes of the users, or items], NaN of those with fewer than two windows.
    """
    group, values = label.groups(log), label.amounts(log)
    number = len(log.items) if label.entity is Entity.ITEM else len(log.keys)
    chosen = of_kinds(log, label.kinds) & (log.time < before) & (values != 0)
    frame = pl.DataFrame(
        {"group": group[chosen], "window": (log.time[chosen] - before) // label.window_us, "value": values[chosen]}
    )
    frame = frame.group_by("group", "window").agg(pl.col("value").sum()).sort("group", "window")
    follows = (pl.col("window").shift(1) + 1 == pl.col("window")) & (pl.col("group").shift(1) == pl.col("group"))
    # Of windows without anything only neighbours matter: each value is the end of one change and the start of another, but for the first
    # window of a series, which ends none, and the last before the border, which starts none.
    square = pl.col("value") ** 2
    first = pl.col("window") == pl.col("window").min().over("group")
    terms = frame.with_columns(
        change=square * (~first).cast(pl.Int8)
        + square * (pl.col("window") < -1).cast(pl.Int8)
        - 2 * pl.when(follows).then(pl.col("value") * pl.col("value").shift(1)).otherwise(0.0)
    )
    series = terms.group_by("group").agg(pl.col("change").sum(), changes=-1 - pl.col("window").min())
    scale = np.full(number, np.nan)
    known = series.filter(pl.col("changes") > 0)
    scale[known["group"].to_numpy()] = known["change"].to_numpy() / known["changes"].to_numpy()
    return scale
