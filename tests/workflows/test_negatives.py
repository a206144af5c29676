"""Negatives: from what was sold at the time, never forbidden, half by popularity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.tasks.negatives import NegativeSampler


@settings(deadline=None)
@given(
    first_seen=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    instants=st.lists(st.integers(0, 11), min_size=1, max_size=6),
    forbidden=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=20),
    count=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_draws_are_sold_allowed_distinct_and_as_many_as_there_can_be(
    first_seen: list[int], instants: list[int], forbidden: list[tuple[int, int]], count: int, seed: int
) -> None:
    items = np.arange(len(first_seen))
    barred = [(a, i) for a, i in forbidden if a < len(instants) and i < len(first_seen)]
    pairs = np.array([a for a, _ in barred], dtype=np.int64), np.array([i for _, i in barred], dtype=np.int64)
    sampler = NegativeSampler(np.array(first_seen), items, np.array(first_seen))
    drawn = sampler.draw(np.array(instants), pairs, count, np.random.default_rng(seed))
    for anchor, instant in enumerate(instants):
        allowed = {i for i in items.tolist() if first_seen[i] < instant and (anchor, i) not in barred}
        found = [i for i in drawn[anchor].tolist() if i >= 0]
        assert set(found) <= allowed
        assert len(set(found)) == len(found) == min(count, len(allowed))


def test_every_other_negative_follows_popularity() -> None:
    events = np.repeat(np.arange(10), [901] + [11] * 9)
    sampler = NegativeSampler(np.zeros(10, dtype=np.int64), events, np.zeros(len(events), dtype=np.int64))
    nothing = np.empty(0, dtype=np.int64)
    drawn = sampler.draw(np.ones(4000, dtype=np.int64), (nothing, nothing), 1, np.random.default_rng(0))
    assert 0.87 < (drawn == 0).mean() < 0.93
    two = sampler.draw(np.ones(4000, dtype=np.int64), (nothing, nothing), 2, np.random.default_rng(0))
    assert 0.08 < (two[:, 1] != 0).mean() / 9 < 0.12  # the second is uniform, and mostly not the first


def test_only_the_past_makes_popular() -> None:
    events, times = np.array([0] + [1] * 500), np.array([0] + [50] * 500)
    sampler = NegativeSampler(np.zeros(40, dtype=np.int64), events, times)
    nothing = np.empty(0, dtype=np.int64)
    drawn = sampler.draw(np.full(2000, 10), (nothing, nothing), 1, np.random.default_rng(1))
    assert (drawn == 0).all()


@pytest.mark.parametrize("kept", [2, 15])
def test_what_a_shopper_must_not_be_shown_is_no_negative(kept: int) -> None:
    """Even where little else is left, so that chance keeps failing and what is left is listed."""
    items, times = np.repeat(np.arange(40), 3), np.zeros(120, dtype=np.int64)
    sampler = NegativeSampler(np.zeros(40, dtype=np.int64), items, times)
    instant, none = np.ones(50, dtype=np.int64), np.empty(0, dtype=np.int64)
    drawn = sampler.draw(instant, (none, none), 4, np.random.default_rng(0), lambda anchor, item: (item + anchor) % 40 >= kept)
    number, place = np.nonzero(drawn >= 0)
    assert (((drawn[number, place] + number) % 40) < kept).all()
    assert ((drawn >= 0).sum(axis=1) == min(kept, 4)).all()
