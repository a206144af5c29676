"""Labels from an event log: events in the window that begins at the anchor, or in the rest of the session."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from cartwheel.core.errors import ConfigError
from workflows.events.asof import Bools, Floats, Ints, expand
from workflows.events.event_log import DAY_US, EventLog, codes_in
from workflows.events.sessions import session_rows
from workflows.features.family import Event, Moments
from workflows.features.timeline import Timeline
from workflows.tasks.anchor_rules import of_kinds
from workflows.tasks.task import Answer, Entity, Future, Label, Labels

How = Literal["any", "none", "count", "sum", "distinct", "value"]
DISTINCT: Final = ("item", "user", "session", "category", "brand")
"""What distinct values can be counted of, beside own columns."""
NUMBERS: Final = ("quantity", "price", "revenue")
"""What can be summed or predicted, beside own columns of numbers: pieces (a missing quantity counts 1), the price of one, and their
product (0 where the price is missing)."""


@dataclass(frozen=True)
class FutureEvents(Label):
    """The events of some types at or after the anchor and before the end of the window: ``anchor <= time < anchor + window``.

    Features see what happens strictly before the anchor, the label what happens from it on: no event is on both sides.

    Attributes:
        entity: who the events belong to.
        kinds: the event types that count.
        how: whether there is ``any`` or ``none``, how many there are (``count``), the ``sum`` or the number of ``distinct`` values of
            a column, or its ``value`` at the first such event that has one.
        days: length of the window; None for the rest of the session.
        column: of ``NUMBERS``, ``DISTINCT`` or the shop's own.
        gap_minutes: a session is over when so much time has passed since its last event.
        windows: how many windows, one after another, are each asked about; of a window of days.
    """

    entity: Entity
    kinds: tuple[str, ...]
    how: How
    days: float | None = None
    column: str = ""
    gap_minutes: int = 30
    windows: int = 1

    @property
    def answer(self) -> Answer:  # type: ignore[override]
        """A probability of any or none, else a quantity."""
        return Answer.PROBABILITY if self.how in ("any", "none") else Answer.QUANTITY

    @property
    def horizon_us(self) -> int:  # type: ignore[override]
        """From the anchor to the end of the last window, microseconds; 0 for the rest of the session."""
        return self.window_us * self.windows

    @property
    def window_us(self) -> int:
        """Length of a window in microseconds; 0 for the rest of the session."""
        return 0 if self.days is None else round(self.days * DAY_US)

    @property
    def adds_up(self) -> bool:
        """Whether a window's label is the sum of those of its parts: of counts and sums over days."""
        return self.how in ("count", "sum") and self.days is not None

    def groups(self, log: EventLog) -> Ints:
        """Return who each event belongs to, codes [N]; of users and items."""
        return log.item if self.entity is Entity.ITEM else log.key

    def amounts(self, log: EventLog) -> Floats:
        """Return what each event adds to a label that adds up: float64 [N]."""
        return np.ones(len(log.time)) if self.how == "count" else np.nan_to_num(_numbers(log, self.column))

    def check(self, log: EventLog) -> None:
        """Refuse event types and columns that the log does not have.

        Raises:
            ConfigError: naming the nearest that it has.
        """
        found = sorted(log.kind.unique().to_list())
        for kind in self.kinds:
            if kind not in found:
                raise ConfigError(f"The log has no event of type {kind!r}.", _meant(kind, found, "Its event types are"))
        if self.how in ("sum", "value", "distinct"):
            usual = DISTINCT if self.how == "distinct" else NUMBERS
            known = [*usual, *log.own.columns]
            if self.column not in known:
                raise ConfigError(
                    f"The log has no column {self.column!r} to predict.", _meant(self.column, known, "Its columns are")
                )
            if self.column not in usual and log.own[self.column].dtype.is_nested():
                raise ConfigError(f"The column {self.column!r} holds lists.", "Predict a column with one value an event.")
            if self.how != "distinct" and self.column not in usual and not log.own[self.column].dtype.is_numeric():
                raise ConfigError(
                    f"The column {self.column!r} holds {log.own[self.column].dtype}, where numbers are expected.",
                    f'Predict a column of numbers, such as {NUMBERS[0]!r}, or as = "distinct".',
                )

    def of(self, log: EventLog, at: Moments) -> Labels:
        """Return the labels: 0 or 1 of any and none, else the quantity; NaN where no event has a ``value``."""
        if self.days is not None and at.ahead is not None:
            at = Moments(at.entity, at.anchor + at.ahead * self.window_us)
        group, entity, end = self._window(log, at)
        events = Timeline(log, group, of_kinds(log, self.kinds))
        start = events.bounds(Moments(entity, at.anchor))[1]
        stop = events.bounds(Moments(entity, end))[1]
        return Labels(self._values(log, events, start, stop), end)

    def recompute(self, future: Future) -> float:
        """Return the label from the events at or after the anchor."""
        if self.days is None:
            events = [event for event in future.events if event.session == future.entity]
        else:
            begin = future.anchor + future.ahead * self.window_us
            events = [event for event in future.events if begin <= event.time < begin + self.window_us]
        events = [event for event in events if event.kind in self.kinds]
        if self.how in ("any", "none"):
            return float(bool(events) == (self.how == "any"))
        if self.how == "count":
            return float(len(events))
        if self.how == "distinct":
            return float(len({_name_of(event, self.column) for event in events} - {None, ""}))
        numbers = [number for event in events if (number := _number_of(event, self.column)) is not None]
        return float(sum(numbers)) if self.how == "sum" else float(numbers[0]) if numbers else float("nan")

    def _window(self, log: EventLog, at: Moments) -> tuple[Ints, Ints, Ints]:
        """Group of each event, group of each moment, and the end of its window."""
        if self.days is not None:
            end = at.anchor + self.window_us
            if self.entity is Entity.ITEM:
                return log.item, at.entity, end
            return log.key, log.key[at.entity] if self.entity is Entity.SESSION else at.entity, end
        first = session_rows(log)
        last = np.zeros(len(first), dtype=np.int64)
        np.maximum.at(last, first, log.time)
        return first, at.entity, np.maximum(last[at.entity], at.anchor) + self.gap_minutes * 60_000_000 + 1

    def _values(self, log: EventLog, events: Timeline, start: Ints, stop: Ints) -> Floats:
        count = (stop - start).astype(np.float64)
        if self.how in ("any", "none"):
            happened: Bools = count > 0 if self.how == "any" else count == 0
            return happened.astype(np.float64)
        if self.how == "count":
            return count
        if self.how == "distinct":
            return _distinct(_names(log, self.column)[events.rows], start, stop)
        numbers = _numbers(log, self.column)[events.rows]
        if self.how == "sum":
            query, row = expand(start, stop)
            total: Floats = np.bincount(query, np.nan_to_num(numbers[row]), minlength=len(start)).astype(np.float64)
            return total
        return _first_known(numbers, start, stop)


def _first_known(numbers: Floats, start: Ints, stop: Ints) -> Floats:
    """Return the first number of each range that is known, NaN where there is none: float64 [Q]."""
    known = np.flatnonzero(~np.isnan(numbers))
    place = np.searchsorted(known, start)
    row = np.append(known, len(numbers))[place]
    there: Bools = row < stop
    return np.where(there, np.append(numbers, np.nan)[np.where(there, row, 0)], np.nan)


def _distinct(codes: Ints, start: Ints, stop: Ints) -> Floats:
    query, row = expand(start, stop)
    known = codes[row] >= 0
    pairs = np.unique(np.stack([query[known], codes[row[known]]]), axis=1)
    return np.bincount(pairs[0], minlength=len(start)).astype(np.float64)


def _numbers(log: EventLog, column: str) -> Floats:
    quantity = np.where(np.isnan(log.quantity), 1.0, log.quantity)
    if column in NUMBERS:
        return {"quantity": quantity, "price": log.price, "revenue": quantity * np.nan_to_num(log.price)}[column]
    values = log.own[column].cast(float).fill_null(float("nan")).to_numpy()
    return np.asarray(values, dtype=np.float64)


def _names(log: EventLog, column: str) -> Ints:
    """Code of each event's value, -1 where it is missing: int64 [N]."""
    if column in DISTINCT:
        named = {"item": log.item, "user": log.key, "session": log.session, "category": log.category - 1, "brand": log.brand - 1}
        return named[column]
    values = log.own[column].cast(pl.String).replace("", None)
    return codes_in(values.drop_nulls().unique(), values).to_numpy()


def _name_of(event: Event, column: str) -> Any:
    named: Mapping[str, Any] = {name: getattr(event, name) for name in DISTINCT}
    return named[column] if column in named else event.own.get(column)


def _number_of(event: Event, column: str) -> float | None:
    quantity = 1.0 if event.quantity is None else event.quantity
    if column == "revenue":
        return quantity * (event.price or 0.0)
    return {"quantity": quantity, "price": event.price}.get(column, event.own.get(column))


def _meant(name: str, known: Sequence[str], are: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"{are} {', '.join(known)}."
