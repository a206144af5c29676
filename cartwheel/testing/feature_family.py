"""What every feature family must keep, on random logs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cartwheel.testing.logs import START_US, random_log
from workflows.audit.tasks import KEY, PlainEvents, equal_values, past_of
from workflows.events.event_log import ANONYMOUS_PREFIX, EventLog, code_events
from workflows.events.sessions import session_rows, with_sessions
from workflows.features.column import Owner
from workflows.features.family import FeatureFamily, Moments
from workflows.settings import PrepareSettings
from workflows.tasks.entities import ids_of
from workflows.tasks.task import Entity

_ENTITIES = {Owner.SHOPPER: Entity.USER, Owner.ITEM: Entity.ITEM, Owner.SESSION: Entity.SESSION, Owner.MOMENT: Entity.USER}
_RANDOM = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
_SEEDS = st.integers(0, 2**31 - 1)


class FeatureFamilyConformance(ABC):
    """Laws of a feature family: inherit this, and return the family from ``family``."""

    interaction_types = PrepareSettings().interaction_types

    @abstractmethod
    def family(self) -> FeatureFamily:
        """Return the family that is tested."""

    def log(self, seed: int) -> pl.DataFrame:
        """Return the canonical events of a seed; a family of own columns gives a log that has them."""
        return random_log(seed)

    def test_columns_are_declared_and_computed(self) -> None:
        """``compute`` gives the declared columns in their types, also for no moment and for strangers."""
        family = self.family()
        log = self._coded(with_sessions(self.log(3), 30))
        expected = {column.name: column.raw_type for column in family.columns}
        assert expected, "the family declares no column"
        for codes in ([], [-1]):
            if family.owner is Owner.SESSION and codes:
                continue  # a session that the log does not have is not asked about
            at = Moments(np.array(codes, dtype=np.int64), np.full(len(codes), START_US, dtype=np.int64))
            found = family.compute(log, at)
            assert dict(found.schema) == expected
            assert len(found) == len(codes)

    @_RANDOM
    @given(seed=_SEEDS)
    def test_compute_equals_recompute(self, seed: int) -> None:
        """What is computed fast is what plain Python computes from the events before the anchor."""
        family, events = self.family(), with_sessions(self.log(seed), 30)
        log = self._coded(events)
        plain = PlainEvents(events, self.interaction_types)
        at = _moments(log, family.owner, seed)
        for row, values in zip(_rows(log, family.owner, at), family.compute(log, at).iter_rows(named=True), strict=True):
            of = plain.of("item", row["entity"]) if family.owner is Owner.ITEM else plain.of("user", row[KEY])
            again = family.recompute(past_of(family.owner, _ENTITIES[family.owner], row, of, plain))
            for column in family.columns:
                assert column.name in again, f"recompute gives no {column.name}"
                assert equal_values(values[column.name], again[column.name]), (
                    column.name,
                    row,
                    values[column.name],
                    again[column.name],
                )

    @_RANDOM
    @given(seed=_SEEDS)
    def test_nothing_at_or_after_the_anchor_matters(self, seed: int) -> None:
        """Other events in place of those at or after the anchor change no value."""
        family, events = self.family(), with_sessions(self.log(seed), 30)
        log = self._coded(events)
        at = _moments(log, family.owner, seed)
        anchor = int(np.sort(at.anchor)[len(at) // 2])
        chosen = np.flatnonzero(at.anchor <= anchor)
        early = Moments(at.entity[chosen], np.minimum(at.anchor[chosen], anchor))
        assert family.compute(log, early).equals(family.compute(_other_future(log, anchor, seed), early))

    def _coded(self, events: pl.DataFrame) -> EventLog:
        return code_events(events, self.interaction_types)


def _other_future(log: EventLog, anchor: int, seed: int) -> EventLog:
    """Give the events at or after ``anchor`` other items, types, prices and quantities; who and when stays, as does their order."""
    rng = np.random.default_rng(seed)
    late = np.flatnonzero(log.time >= anchor)
    other = late[rng.permutation(len(late))]
    order = np.arange(len(log.time))
    order[late] = other
    price = log.price[order]
    price[late] = price[late] * 3 + 1
    own = log.own[order] if log.own.width else log.own
    return replace(
        log, item=log.item[order], kind=log.kind[order], price=price, quantity=log.quantity[order], category=log.category[order],
        brand=log.brand[order], interaction=log.interaction[order], own=own,
    )  # fmt: skip


def _moments(log: EventLog, owner: Owner, seed: int) -> Moments:
    """Choose moments: at events, just after them, and long after; of sessions only after their first event."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(log.time), size=25)
    shift = rng.choice([0, 1, 40 * 60_000_000, 9 * 86_400_000_000], size=len(rows))
    if owner is Owner.SESSION:
        return Moments(session_rows(log)[rows], log.time[rows] + np.maximum(shift, 1))
    return Moments(log.item[rows] if owner is Owner.ITEM else log.key[rows], log.time[rows] + shift)


def _rows(log: EventLog, owner: Owner, at: Moments) -> list[dict[str, Any]]:
    entity = _ENTITIES[owner]
    keys = log.keys.gather(
        log.key[at.entity] if entity is Entity.SESSION else at.entity if entity is Entity.USER else 0 * at.entity
    )
    ids = keys if entity is Entity.USER else ids_of(entity, log, at.entity)
    found = pl.DataFrame({"entity": ids, "anchor": at.anchor, KEY: keys})
    assert found.filter(pl.col(KEY).str.starts_with(ANONYMOUS_PREFIX) & (pl.col("entity") == "")).is_empty()
    return found.to_dicts()
