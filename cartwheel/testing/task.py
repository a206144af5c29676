"""What every task about users, items or sessions must keep, on random logs."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cartwheel.testing.logs import random_log
from workflows.audit.tasks import PlainEvents, equal_values
from workflows.events.event_log import EventLog, code_events
from workflows.events.sessions import with_sessions
from workflows.features.family import Moments
from workflows.settings import PrepareSettings
from workflows.tasks.entities import ids_of
from workflows.tasks.task import AnchorRule, Answer, Entity, Future, Label, Task

_RANDOM = settings(
    deadline=None,
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)
_SEEDS = st.integers(0, 2**31 - 1)


class TaskConformance(ABC):
    """Laws of a task's anchors and labels: inherit this, and return the task from ``task``."""

    interaction_types = PrepareSettings().interaction_types

    @abstractmethod
    def task(self) -> Task:
        """Return the task that is tested."""

    def log(self, seed: int) -> pl.DataFrame:
        """Return the canonical events of a seed; a task of own columns gives a log that has them."""
        return random_log(seed)

    @_RANDOM
    @given(seed=_SEEDS)
    def test_anchors_lie_in_the_span_and_come_once(self, seed: int) -> None:
        """Anchors lie from ``start`` on and before ``stop``, in order, each of an entity once."""
        log, at = self._asked(seed)
        start, stop = int(log.time.min()), int(log.time.max()) + 1
        assert ((at.anchor >= start) & (at.anchor < stop)).all()
        order = np.lexsort((at.entity, at.anchor))
        assert (order == np.arange(len(order))).all()
        ahead = np.zeros(len(at), np.int64) if at.ahead is None else at.ahead
        assert len(np.unique(np.stack([at.entity, at.anchor, ahead]), axis=1).T) == len(at)
        half = (start + stop) // 2
        anchors, _ = self._parts()
        late = anchors.moments(log, half, stop)
        assert (late.anchor >= half).all()

    @_RANDOM
    @given(seed=_SEEDS)
    def test_labels_equal_their_recompute(self, seed: int) -> None:
        """Labels are what plain Python makes of the events at or after the anchor."""
        log, at = self._asked(seed)
        _, label = self._parts()
        entity = self.task().entity
        plain = PlainEvents(with_sessions(self.log(seed), 30), self.interaction_types)
        found = label.of(log, at)
        column = "item" if entity is Entity.ITEM else "user"
        keys = log.items.gather(at.entity) if entity is Entity.ITEM else log.keys.gather(self._keys(log, at))
        ahead = np.zeros(len(at), np.int64) if at.ahead is None else at.ahead
        rows = zip(ids_of(entity, log, at.entity), keys, at.anchor.tolist(), ahead.tolist(), found.value.tolist(), strict=True)
        for name, key, anchor, window, value in rows:
            future = [event for event in plain.of(column, key) if event.time >= anchor]
            again = label.recompute(Future(name, anchor, future, window))
            assert equal_values(value, again) or (np.isnan(value) and np.isnan(again)), (name, anchor, value, again)
            if label.answer is Answer.PROBABILITY:
                assert value in (0.0, 1.0)

    @_RANDOM
    @given(seed=_SEEDS)
    def test_labels_are_known_when_they_say(self, seed: int) -> None:
        """A log that ends where a label is known gives the same label: nothing later is needed, and less is not called known."""
        log, at = self._asked(seed)
        _, label = self._parts()
        found = label.of(log, at)
        assert (found.known_at > at.anchor).all()
        events = with_sessions(self.log(seed), 30)
        for row in np.unique(np.linspace(0, len(at) - 1, 10).astype(int)) if len(at) else []:
            one = at.take(np.array([row]))
            kept = events.filter(pl.col("timestamp").dt.epoch("us") < found.known_at[row])
            short = code_events(kept, self.interaction_types)
            again = label.of(short, Moments(self._code_in(short, log, one), one.anchor, one.ahead))
            assert (
                equal_values(float(again.value[0]), float(found.value[row])) or np.isnan([again.value[0], found.value[row]]).all()
            )

    def _parts(self) -> tuple[AnchorRule, Label]:
        task = self.task()
        assert task.anchors is not None
        assert task.label is not None
        return task.anchors, task.label

    def _asked(self, seed: int) -> tuple[EventLog, Moments]:
        log = code_events(with_sessions(self.log(seed), 30), self.interaction_types)
        anchors, _ = self._parts()
        return log, anchors.moments(log, int(log.time.min()), int(log.time.max()) + 1)

    def _keys(self, log: EventLog, at: Moments) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return log.key[at.entity] if self.task().entity is Entity.SESSION else at.entity

    def _code_in(self, short: EventLog, log: EventLog, at: Moments) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Find the entity of one moment in a log that ends earlier."""
        entity = self.task().entity
        if entity is Entity.SESSION:
            return np.flatnonzero(short.row == log.row[at.entity[0]]).astype(np.int64)
        table, name = (short.items, log.items) if entity is Entity.ITEM else (short.keys, log.keys)
        found = table.index_of(name[int(at.entity[0])])
        return np.array([-1 if found is None else found], dtype=np.int64)
