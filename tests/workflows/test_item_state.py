"""Item features: equal to brute force on any log."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workflows.events.event_log import DAY_US, code_events
from workflows.features.item import ItemHistory, state_instant
from workflows.features.recompute import item_features
from workflows.settings import PrepareSettings

EVENT = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["a", "b"]),
        "item_id": st.sampled_from(["1", "2", "3", "4"]),
        "event_type": st.sampled_from(["view", "cart", "purchase", "refund", "remove_from_cart"]),
        "time": st.integers(0, 30).map(lambda h: h * DAY_US // 4),
        "category": st.sampled_from(["x", "y", "", None]),
        "brand": st.sampled_from(["n", "m", None]),
        "price": st.sampled_from([None, 0.0, 1.5, 20.0, 1e6]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(EVENT, min_size=1, max_size=25), instants=st.lists(st.integers(0, 35), min_size=1, max_size=4))
def test_state_equals_brute_force_on_any_log(
    event_maker: Callable[..., pl.DataFrame], rows: list[dict[str, object]], instants: list[int]
) -> None:
    wanted = PrepareSettings(popularity_days=1.5)
    events = event_maker(rows)
    log = code_events(events, wanted.interaction_types)
    items = ItemHistory(log, wanted.popularity_days)
    item, instant = (a.ravel() for a in np.meshgrid(np.arange(len(log.items)), np.array(instants) * DAY_US // 4))
    frame = items.frame(item, items.arrays(item, instant))
    listed = events.with_columns(pl.col("timestamp").dt.epoch("us").alias("time")).to_dicts()
    for row, at in zip(frame.iter_rows(named=True), instant.tolist(), strict=True):
        expected = item_features(row.pop("item_id"), listed, at, wanted)
        assert row.keys() == expected.keys()
        for column, value in expected.items():
            assert row[column] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), column


def test_an_item_unseen_at_the_instant_keeps_its_id_and_nothing_else(event_maker: Callable[..., pl.DataFrame]) -> None:
    events = event_maker(
        [{"user_id": "a", "item_id": "1", "event_type": "view", "time": DAY_US, "category": "x", "brand": "n", "price": 2.0}]
    )
    items = ItemHistory(code_events(events, ("view",)), 7)
    row = items.frame(np.array([0]), items.arrays(np.array([0]), np.array([DAY_US]))).row(0)
    assert row == ("1", "", "", None, None, 0.0, 0.0, 0.0, 0.0)


def test_the_state_is_refreshed_at_whole_periods() -> None:
    assert state_instant(np.array([0, DAY_US - 1, DAY_US, DAY_US + 1]), 1440).tolist() == [0, 0, DAY_US, DAY_US]
