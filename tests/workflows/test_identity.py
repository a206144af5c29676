"""A visitor is a customer from the login on, and an event from before it tells nobody who the visitor will be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import DataError
from cartwheel.core.run_layout import EventsLayout
from workflows.events.identity import join_identity
from workflows.events.schema import EventSummary
from workflows.events.sources import open_source
from workflows.events.validate import check_events
from workflows.settings import EventSettings, SourceSettings, TableSettings

LOG = """user_id,session_id,item_id,event_type,timestamp
v1,,i1,view,2024-01-01T10:00
v1,,i2,view,2024-01-01T11:00
c7,,i1,purchase,2024-01-01T11:30
v2,,i3,view,2024-01-01T12:00
,s9,i4,view,2024-01-01T13:00
v1,,i2,view,2024-01-02T10:00
"""


def checked(folder: Path, log: str = LOG) -> tuple[EventsLayout, EventSummary]:
    (folder / "log.csv").write_text(log)
    source = open_source(SourceSettings(kind="table", path=folder / "log.csv", columns={"session_id": "session_id"}), folder)
    return EventsLayout(folder / "events"), check_events(source, EventSettings(), folder / "events")


def joined(folder: Path, table: str, log: str = LOG, **more: Any) -> tuple[pl.DataFrame, EventSummary]:
    layout, summary = checked(folder, log)
    (folder / "logins.csv").write_text(table)
    found = join_identity(layout, summary, TableSettings(path=folder / "logins.csv", **more))
    return pl.read_parquet(layout.events), found


def test_an_event_is_the_customers_from_the_login_on(tmp_path: Path) -> None:
    table = (
        "visitor_id,customer_id,login\nv1,c7,2024-01-01T11:00\ns9,c8,2024-01-01T12:30\nv1,c9,2024-01-02T09:00\nv5,c5,2024-01-01\n"
    )
    events, summary = joined(tmp_path, table, valid_from="login")
    assert events["user_id"].to_list() == ["v1", "c7", "c7", "v2", "c8", "c9"]
    assert events["visitor_id"].to_list() == ["v1", "v1", "c7", "v2", "s9", "v1"]
    assert events["timestamp"].is_sorted()
    assert summary.users == 5
    assert "the 1 from before it stay the visitors'" in summary.remarks[-1]
    assert summary.own_columns == ("visitor_id",)


def test_events_from_before_the_login_can_be_given_to_the_customer_with_a_warning(tmp_path: Path) -> None:
    table = "visitor_id,customer_id,login\nv1,c7,2024-01-01T11:00\nv1,c9,2024-01-02T09:00\n"
    events, summary = joined(tmp_path, table, valid_from="login", before_login="customer")
    assert events["user_id"].to_list() == ["c7", "c7", "c7", "v2", None, "c9"]
    assert "know what nobody knew" in summary.remarks[-1]


def test_without_a_login_a_visitor_always_is_the_customer(tmp_path: Path) -> None:
    events, summary = joined(tmp_path, "visitor_id,customer_id\nv1,c7\n")
    assert events["user_id"].to_list() == ["c7", "c7", "c7", "v2", None, "c7"]
    assert "always known who a visitor is" in summary.remarks[-1]


@pytest.mark.parametrize(
    ("table", "more", "sentence"),
    [
        ("visitor_id,customer_id\nx1,c7\n", {}, "none of its 1 visitors ('x1') has an event, so it joins nothing"),
        ("visitor_id,customer_id\nv1,c7\nv1,c8\n", {}, "rows of one key differ 2"),
        ("visitor_id,customer_id,at\nv1,c1,2030-01-01\n", {"valid_from": "at"}, "every valid_from lies after the last event"),
        ("visitor_id,customer_id\nv1,\n", {}, "missing customer 1"),
        ("visitor_id,customer\nv1,c1\n", {}, "there is no column 'customer_id' for tables.identity.columns.customer"),
        ("visitor,customer_id\nv1,c1\n", {}, "there is no column 'visitor_id' for the key of tables.identity"),
    ],
)
def test_what_joins_nothing_is_one_sentence(tmp_path: Path, table: str, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        joined(tmp_path, table, **more)
    assert sentence in str(caught.value)


START = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)


@settings(max_examples=25)
@given(
    logins=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 6), st.sampled_from("xyz")), unique_by=lambda row: row[:2], min_size=1
    ),
    events=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 7)), min_size=1, max_size=10),
)
def test_it_is_the_last_login_not_after_the_event(
    tmp_path_factory: pytest.TempPathFactory, logins: list[tuple[str, int, str]], events: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("identity")
    at: Callable[[int], str] = lambda hour: (START + dt.timedelta(hours=hour)).isoformat()  # noqa: E731
    table = "visitor_id,customer_id,login\n" + "".join(f"{who},{customer},{at(hour)}\n" for who, hour, customer in logins)
    rows = [*((who, n, hour) for n, (who, hour) in enumerate(events)), (logins[0][0], 99, 7)]
    log = "user_id,session_id,item_id,event_type,timestamp\n" + "".join(f"{who},,{n},view,{at(hour)}\n" for who, n, hour in rows)
    found, _ = joined(folder, table, log, valid_from="login")
    for item, visitor, user, time in found.select("item_id", "visitor_id", "user_id", "timestamp").iter_rows():
        assert (visitor, time) == next((who, START + dt.timedelta(hours=hour)) for who, n, hour in rows if str(n) == item)
        known = [
            (hour, customer) for who, hour, customer in logins if who == visitor and START + dt.timedelta(hours=hour) <= time
        ]
        assert user == (max(known)[1] if known else visitor)
