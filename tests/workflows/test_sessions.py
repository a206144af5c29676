"""Sessions named by the log stay; others are found by pauses."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from workflows.events.sessions import with_sessions

MINUTE = 60_000_000


def test_named_sessions_stay_and_pauses_part_the_rest(event_maker: Callable[..., pl.DataFrame]) -> None:
    told = [("a", 0, None), ("b", 1, None), ("a", 30, None), ("a", 50, "mine"), ("a", 61, None), ("a", 70, None), (None, 71, "x")]
    events = event_maker(
        [{"user_id": u, "item_id": "1", "event_type": "view", "time": t * MINUTE, "session_id": s} for u, t, s in told]
    )
    found = with_sessions(events, 30)
    assert found.drop("session_id").equals(events.drop("session_id"))
    assert found["session_id"].to_list() == ["a#1", "b#1", "a#1", "mine", "a#2", "a#2", "x"]
