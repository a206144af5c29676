"""Random logs for properties: few users and items, so that repeats, ties and short histories are common."""

from __future__ import annotations

import polars as pl
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from models.questions.interactions import Interactions, from_events

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Enough examples for logs as small as these, whatever else the machine does meanwhile."""


@st.composite
def event_tables(draw: st.DrawFn, least: int = 1) -> pl.DataFrame:
    """Events of up to 6 users, 8 items, 3 sessions a user and 40 instants, in any order."""
    row = st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 39), st.integers(0, 2))
    rows = draw(st.lists(row, min_size=least, max_size=60))
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "session_id"], orient="row")


@st.composite
def logs(draw: st.DrawFn, least: int = 1) -> Interactions:
    return from_events(draw(event_tables(least)))
