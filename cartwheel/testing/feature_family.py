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
from workflows.features.live.past import MINUTE_US, LivePast, appended, before, events_of, key_of, kind_code
from workflows.features.live.registry import LIVE
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
    def test_a_log_replayed_event_by_event_equals_the_batch(self, seed: int) -> None:
        """What a server computes of the events up to an export and of those that came one by one is what ``compute`` has of all."""
        family, given_events = self.family(), self.log(seed)
        if (live := LIVE.get(family.name)) is None:
            return
        events = with_sessions(given_events, 30)
        log, shop = self._coded(events), _Replayed(given_events, int(np.random.default_rng(seed).integers(0, len(events))))
        at = _moments(log, family.owner, seed)
        for row, values in zip(_rows(log, family.owner, at), family.compute(log, at).iter_rows(named=True), strict=True):
            past = shop.past(row["entity"] if family.owner is Owner.ITEM else row[KEY], row["anchor"], family.owner)
            if family.owner is Owner.SESSION and shop.session != row["entity"]:
                continue  # the shopper has gone on to another session
            again = live.values(past)
            assert again.keys() == {column.name for column in family.columns}
            for column in family.columns:
                found, expected = again[column.name], values[column.name]
                found = None if found is None or np.isnan(found) else found
                assert (found is None) == (expected is None), (column.name, row, found, expected)
                assert found is None or np.isclose(found, expected, rtol=1e-6, atol=1e-6), (column.name, row, found, expected)

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


class _Replayed:
    """A log of which a server knows the first ``known`` events from its export, and the others because they came in one by one."""

    def __init__(self, events: pl.DataFrame, known: int) -> None:
        named = with_sessions(events, 30)["session_id"].to_list()
        rows = events.with_columns(pl.col("timestamp").dt.epoch("us")).iter_rows(named=True)
        self._sessions: list[tuple[str, int, str]] = []
        self._users: dict[int, Any] = {}
        self._items: dict[int, Any] = {}
        self.session = ""
        for place, (row, session) in enumerate(zip(rows, named, strict=True)):
            user = row["user_id"] or ANONYMOUS_PREFIX + row["session_id"]
            keys = key_of(user), key_of(row["item_id"]), key_of(row["session_id"] or "")
            event = events_of([(row["timestamp"], *keys, kind_code(row["event_type"]), row["price"], row["quantity"])])
            self._sessions.append((user, row["timestamp"], session))
            for table, key in ((self._users, keys[0]), (self._items, keys[1])):
                so_far = table.get(key, events_of([]))
                table[key] = np.concatenate([so_far, event]) if place < known else appended(so_far, event)

    def past(self, name: str, anchor: int, owner: Owner) -> LivePast:
        self.session = next((s for user, time, s in reversed(self._sessions) if user == name and time < anchor), "")
        table = self._items if owner is Owner.ITEM else self._users
        none = events_of([])
        own = before(table.get(key_of(name), none), anchor)
        return LivePast(anchor, own, lambda item: before(self._items.get(item, none), anchor), 30 * MINUTE_US)


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
