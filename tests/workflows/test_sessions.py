"""Sessions named by the log stay; others are found by pauses."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from workflows.events.event_log import code_events
from workflows.events.sessions import session_rows, with_sessions

MINUTE = 60_000_000


def test_named_sessions_stay_and_pauses_part_the_rest(event_maker: Callable[..., pl.DataFrame]) -> None:
    told = [("a", 0, None), ("b", 1, None), ("a", 30, None), ("a", 50, "mine"), ("a", 61, None), ("a", 70, None), (None, 71, "x")]
    events = event_maker(
        [{"user_id": u, "item_id": "1", "event_type": "view", "time": t * MINUTE, "session_id": s} for u, t, s in told]
    )
    found = with_sessions(events, 30)
    assert found.drop("session_id").equals(events.drop("session_id"))
    assert found["session_id"].to_list() == ["a#1", "b#1", "a#1", "mine", "a#2", "a#2", "x"]


def test_session_rows_are_the_sessions_of_the_frame(log_maker: Callable[..., pl.DataFrame]) -> None:
    events = with_sessions(log_maker(800, seed=4), 30)
    log = code_events(events, ("view",))
    found = pl.DataFrame({"row": log.row, "first": session_rows(log), "key": log.key}).sort("row")
    both = found.with_columns(session=events["session_id"])
    assert (
        both.select("key", "session").n_unique() == both["first"].n_unique() == both.select("key", "session", "first").n_unique()
    )
    first = found.filter(pl.int_range(pl.len()).over("first", order_by="row") == 0)
    assert (log.row[first["first"].to_numpy()] <= first["row"].to_numpy()).all()
