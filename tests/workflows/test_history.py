"""Query features: equal to brute force on any log, and blind to the anchor itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workflows.events.event_log import code_events
from workflows.features.recompute import query_features
from workflows.features.shopper import ShopperFeatures
from workflows.settings import PrepareSettings

MINUTE = 60_000_000
EVENT = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["a", "b", None]),
        "session_id": st.sampled_from(["s", "t"]),
        "item_id": st.sampled_from(["1", "2", "3", "4", "5"]),
        "event_type": st.sampled_from(["view", "cart", "purchase", "refund", "remove_from_cart", "wishlist"]),
        "time": st.integers(0, 40).map(lambda m: m * 7 * MINUTE),
        "category": st.sampled_from(["x", "y", "", None]),
        "brand": st.sampled_from(["n", None]),
        "price": st.sampled_from([None, 0.0, 1.5, 20.0]),
    }
)


def _by_key(events: pl.DataFrame) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for event in events.with_columns(pl.col("timestamp").dt.epoch("us").alias("time")).to_dicts():
        found.setdefault(event["user_id"] or f"session:{event['session_id']}", []).append(event)
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(EVENT, min_size=1, max_size=25),
    length=st.integers(1, 4),
    anchors=st.lists(st.integers(0, 300), min_size=1, max_size=4),
)
def test_features_equal_brute_force_on_any_log(
    event_maker: Callable[..., pl.DataFrame], rows: list[dict[str, object]], length: int, anchors: list[int]
) -> None:
    wanted = PrepareSettings(recent_items=length)
    events = event_maker(rows)
    log = code_events(events, wanted.interaction_types)
    history = ShopperFeatures(log, wanted.session_gap_minutes, length)
    of_key = _by_key(events)
    assert sorted(of_key) == sorted(log.keys.to_list())
    key, anchor = (a.ravel() for a in np.meshgrid(np.arange(len(log.keys)), np.array(anchors) * MINUTE))
    frame = history.frame(history.queries(key, anchor), lists=True)
    for row, code, at in zip(frame.iter_rows(named=True), key.tolist(), anchor.tolist(), strict=True):
        name = log.keys[code]
        assert row.pop("user_id") == ("" if name.startswith("session:") else name)
        expected = query_features(of_key[name], at, wanted)
        assert row.keys() == expected.keys()
        for column, value in expected.items():
            assert row[column] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), column


def test_events_at_the_anchor_are_not_history(event_maker: Callable[..., pl.DataFrame]) -> None:
    events = event_maker([{"user_id": "a", "item_id": item, "event_type": "view", "time": 10 * MINUTE} for item in ("1", "2")])
    history = ShopperFeatures(code_events(events, ("view",)), 30, 5)
    at, after = (history.queries(np.array([0]), np.array([10 * MINUTE + late])) for late in (0, 1))
    assert at.continuous["user_events"].tolist() == [0]
    assert np.isnan(at.continuous["user_recency_hours"][0])
    assert (at.recent == -1).all()
    assert after.continuous["user_events"].tolist() == [2]
    assert history.list_columns(after.recent)["recent_items"].to_list() == [["1", "2"]]


def test_a_seen_again_item_moves_to_the_end_with_its_latest_category(event_maker: Callable[..., pl.DataFrame]) -> None:
    seen = [("1", "old"), ("2", None), ("1", "new")]
    rows = [{"user_id": "a", "item_id": i, "event_type": "view", "time": n, "category": c} for n, (i, c) in enumerate(seen)]
    history = ShopperFeatures(code_events(event_maker(rows), ("view",)), 30, 5)
    lists = history.list_columns(history.queries(np.array([0]), np.array([99])).recent)
    assert lists["recent_items"].to_list() == [["2", "1"]]
    assert lists["recent_categories"].to_list() == [["", "new"]]


def test_the_session_ends_with_a_pause_whatever_its_id(event_maker: Callable[..., pl.DataFrame]) -> None:
    times = [0, 29, 60, 85]
    rows = [{"user_id": "a", "item_id": "1", "event_type": "view", "time": m * MINUTE, "session_id": f"s{m}"} for m in times]
    history = ShopperFeatures(code_events(event_maker(rows), ("view",)), 30, 5)
    asked = np.array([86, 115, 116]) * MINUTE
    found = history.queries(np.zeros(3, dtype=np.int64), asked).continuous
    assert found["session_events"].tolist() == [2, 2, 0]
    assert found["session_minutes"].tolist() == [26, 55, 0]


def test_a_stranger_has_no_history(event_maker: Callable[..., pl.DataFrame]) -> None:
    events = event_maker([{"user_id": "a", "item_id": "1", "event_type": "view", "time": 0}])
    found = ShopperFeatures(code_events(events, ("view",)), 30, 3).queries(np.array([-1, 7]), np.array([50, 50]))
    assert found.continuous["user_events"].tolist() == [0, 0]
    assert (found.recent == -1).all()


def test_a_log_without_interactions_gives_strangers_only(event_maker: Callable[..., pl.DataFrame]) -> None:
    events = event_maker([{"user_id": "a", "item_id": "1", "event_type": "refund", "time": 0}])
    found = ShopperFeatures(code_events(events, ("view",)), 30, 3).queries(np.array([0]), np.array([50]))
    assert found.continuous["session_events"].tolist() == [0]
    assert (found.recent == -1).all()


def test_what_a_bot_looked_at_last_is_found_whoever_asks_beside_it(event_maker: Callable[..., pl.DataFrame]) -> None:
    """Strangers' ranges are empty and begin at rows of others; questions at one instant come in any order."""
    rows = [{"user_id": "a", "item_id": str(n % 7), "event_type": "view", "time": n} for n in range(300)]
    rows += [{"user_id": "b", "item_id": "1", "event_type": "view", "time": 5}]
    history = ShopperFeatures(code_events(event_maker(rows), ("view",)), 30, 4)
    start, stop = np.array([0, 300, 0, 300, 0, 0]), np.array([300, 300, 150, 301, 300, 2])
    assert history.recent(start, stop).tolist() == [
        [299, 298, 297, 296],
        [-1, -1, -1, -1],
        [149, 148, 147, 146],
        [300, -1, -1, -1],
        [299, 298, 297, 296],
        [1, 0, -1, -1],
    ]
