"""Links count as ``[tables.identity]`` does: a visitor's events are the user's from the login on, and the next answer knows it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import httpx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_gateway import Gateway

from cartwheel.core.run_layout import EventsLayout
from serving.client.client import Client
from serving.contract.shop import MESSAGES
from serving.gateway.links import Links
from serving.store.event import Recent, shopper_key
from serving.store.link import Link
from workflows.events.identity import join_identity
from workflows.events.sources import open_source
from workflows.events.validate import check_events
from workflows.settings import EventSettings, SourceSettings, TableSettings

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}", timeout=20) as opened:
        yield opened


def items(http: httpx.Client, user: str) -> list[Any]:
    return [item["item_id"] for item in http.post("/v1/recommend", json={"user_id": user, "k": 5}).json()["items"]]


@pytest.mark.parametrize("visitor", [{"visitor_id": "cookie-1"}, {"session_id": "visit-1"}])
def test_what_a_visitor_does_counts_for_the_user_from_the_login_on(http: httpx.Client, visitor: dict[str, str]) -> None:
    user = f"customer of {next(iter(visitor.values()))}"
    first = items(http, user)
    who = {"user_id": visitor["visitor_id"]} if "visitor_id" in visitor else visitor

    def look(item: Any) -> None:
        event = {**who, "item_id": str(item), "event_type": "view"}
        assert http.post("/v1/track", json={"events": [event]}).json()["accepted"] == 1

    look(first[0])
    assert items(http, user) == first, "nobody has said who that was"
    assert http.put("/v1/links", json={"links": [{"user_id": user, **visitor}]}).json()["accepted"] == 1
    assert items(http, user) == first, "what was before the login stays the visitor's"
    look(first[1])
    after = items(http, user)
    assert first[1] not in after
    assert first[0] in after or after != first
    told = http.put("/v1/links", json={"links": [{"user_id": user, **visitor, "since": 0}]})
    assert told.status_code == 200
    assert not {first[0], first[1]} & set(items(http, user)), "all that the visitor ever did"


def test_the_typed_service_links_too(channel: grpc.Channel, http: httpx.Client, gateway: Gateway) -> None:
    first = items(http, "typed customer")
    link = channel.unary_unary("/cartwheel.v1.Shop/Link", response_deserializer=MESSAGES["LinkResponse"].FromString)
    request = MESSAGES["LinkRequest"](links=[MESSAGES["VisitorLink"](user_id="typed customer", visitor_id="cookie-2", since=0)])
    http.post("/v1/track", json={"events": [{"user_id": "cookie-2", "item_id": str(first[0]), "event_type": "view"}]})
    assert link(request.SerializeToString(), timeout=20).accepted == 1
    with Client(gateway.endpoint.grpc) as client:
        assert first[0] not in client.recommend("typed customer", k=5).item_ids


@pytest.mark.parametrize(
    ("link", "sentence"),
    [
        ({"user_id": "a"}, "links[0] links nobody; give user_id, and either visitor_id or session_id."),
        ({"user_id": "a", "visitor_id": "b", "session_id": "c"}, "links[0] links nobody"),
        ({"user_id": "a", "visitor_id": "a"}, "links[0] links 'a' to itself"),
        ({"user_id": "a", "visitor_id": "b", "since": -1}, "links[0].since: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_link_is_named(http: httpx.Client, link: Any, sentence: str) -> None:
    answer = http.put("/v1/links", json={"links": [link]})
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


clicks = st.lists(st.tuples(st.sampled_from(["v1", "v2", "anna", "bert"]), st.integers(0, 30)), min_size=1, max_size=20)
logins = st.lists(
    st.tuples(st.sampled_from(["v1", "v2"]), st.integers(0, 30), st.sampled_from(["anna", "bert"])), min_size=1, max_size=5
)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(clicks=clicks, logins=logins)
def test_whose_an_event_is_is_what_the_identity_table_says(
    tmp_path_factory: pytest.TempPathFactory, clicks: Any, logins: Any
) -> None:
    clicks = sorted([*clicks, (logins[0][0], 40)], key=lambda click: click[1])
    unique = list({(visitor, minute): user for visitor, minute, user in logins}.items())
    found = _batch(tmp_path_factory.mktemp("identity"), clicks, unique)
    links, events = Links(), dict[str, list[Recent]]()
    links.update(Link(shopper_key(visitor), user, _us(minute)) for (visitor, minute), user in unique)
    for number, (who, minute) in enumerate(clicks):
        events.setdefault(shopper_key(who), []).append(Recent(f"i{number}", "view", _us(minute), None))
    for user in ("anna", "bert", "v1", "v2"):
        [names] = links.histories([user])
        mine = links.joined(user, names, {name: events.get(name, []) for name in names})
        assert sorted(event.item_id for event in mine) == sorted(found.get(user, []))
        assert [event.time_us for event in mine] == sorted(event.time_us for event in mine)


def _us(minute: int) -> int:
    return int((START + timedelta(minutes=minute)).timestamp()) * 1_000_000


def _batch(folder: Path, clicks: Any, logins: Any) -> dict[str, list[str]]:
    """The items of each user's events after ``prepare`` has joined the table."""
    table = folder / "logins.csv"
    rows = [f"{visitor},{user},{(START + timedelta(minutes=minute)).isoformat()}" for (visitor, minute), user in logins]
    table.write_text("\n".join(["visitor_id,customer_id,login", *rows]))
    log = [
        f"{who},i{number},view,{(START + timedelta(minutes=minute)).isoformat()}" for number, (who, minute) in enumerate(clicks)
    ]
    (folder / "log.csv").write_text("\n".join(["user_id,item_id,event_type,timestamp", *log]))
    source = open_source(SourceSettings(kind="table", path=folder / "log.csv"), folder)
    summary = check_events(source, EventSettings(), folder / "events")
    layout = EventsLayout(folder / "events")
    join_identity(layout, summary, TableSettings(path=table, valid_from="login"))
    joined = pl.read_parquet(layout.events)
    return {user: of["item_id"].to_list() for (user,), of in joined.group_by(["user_id"])}  # type: ignore[misc]
