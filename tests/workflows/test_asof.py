"""Lookups strictly before an instant, against loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workflows.events.asof import AsOf, before, expand, group_starts, last_valid, running_sum

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(-5, 5), st.booleans()), max_size=30).map(sorted)
BIG = 9_000_000_000_000_000_000 // 5


@given(ROWS, st.lists(st.tuples(st.integers(-1, 6), st.integers(-7, 7)), max_size=10))
def test_bounds_and_counts_equal_a_loop(rows: list[tuple[int, int, bool]], queries: list[tuple[int, int]]) -> None:
    group = np.array([r[0] for r in rows], dtype=np.int64)
    time = np.array([r[1] for r in rows], dtype=np.int64) * BIG
    as_of = AsOf(group, time)
    wanted = np.array([q[0] for q in queries], dtype=np.int64)
    instant = np.array([q[1] if abs(q[1]) <= 5 else 5 for q in queries], dtype=np.int64) * BIG
    counts = as_of.count(wanted, instant)
    for (key, _), at, count in zip(queries, instant.tolist(), counts.tolist(), strict=True):
        assert count == sum(r[0] == key and r[1] * BIG < at for r in rows)


@given(ROWS)
def test_running_values_start_afresh_in_each_group(rows: list[tuple[int, int, bool]]) -> None:
    group = np.array([r[0] for r in rows], dtype=np.int64)
    value = np.array([r[1] for r in rows], dtype=np.float64)
    valid = np.array([r[2] for r in rows], dtype=bool)
    starts = group_starts(group)
    sums, latest = running_sum(value, starts), last_valid(valid, starts)
    for row in range(len(rows)):
        own = [i for i in range(row + 1) if group[i] == group[row]]
        assert starts[row] == own[0]
        assert sums[row] == sum(value[i] for i in own)
        assert latest[row] == max((i for i in own if valid[i]), default=-1)
    assert before(sums, starts, starts).tolist() == [0.0] * len(rows)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=10))
def test_expand_lists_ranges_in_order(ranges: list[tuple[int, int]]) -> None:
    start = np.array([r[0] for r in ranges], dtype=np.int64)
    stop = np.array([r[1] for r in ranges], dtype=np.int64)
    query, row = expand(start, stop)
    expected = [(number, i) for number, (low, high) in enumerate(ranges) for i in range(low, high)]
    assert list(zip(query.tolist(), row.tolist(), strict=True)) == expected
