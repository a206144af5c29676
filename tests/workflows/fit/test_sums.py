"""Sums by group do not depend on how the rows are cut."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workflows.compiler.fit import sums
from workflows.compiler.fit.sums import Sums

SCHEMA = {"key": pl.String, "fold": pl.UInt8, "count": pl.Int64}
ROWS = st.lists(st.tuples(st.sampled_from([None, "", "a", "b"]), st.integers(0, 2), st.integers(-3, 3)), max_size=6)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROWS, max_size=6), st.integers(1, 8))
def test_sums_are_those_of_all_rows_together(monkeypatch: pytest.MonkeyPatch, batches: list[list[object]], together: int) -> None:
    monkeypatch.setattr(sums, "_TOGETHER", together)
    frames = [pl.DataFrame(batch, schema=SCHEMA, orient="row") for batch in ([], *batches)]
    found = Sums(["key", "fold"], ["count"])
    for frame in frames:
        found.add(frame)
    expected = pl.concat(frames).group_by("key", "fold").agg(pl.col("count").sum())
    order = ["key", "fold"]
    assert found.table().sort(order).equals(expected.sort(order))
