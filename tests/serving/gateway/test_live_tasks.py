"""Declared tasks see a click in the next answer: about the shopper, about the item, and about the running session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import polars as pl
import pytest
from live_tasks import batch_columns, write_live_tasks
from running_gateway import Gateway, infer, refusal, rpc
from synthetic_run import SyntheticRun

from cartwheel.testing.logs import random_log
from serving.client.client import Client
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.settings import ExportSettings


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("live-tasks")
    SyntheticRun(folder / "run", items=30, users=12, seed=7, cart=False, dimension=8, recents=5).write()
    write_live_tasks(folder / "run", random_log(8))
    write_repository(folder / "run", ExportSettings())
    running = Gateway(Path(folder / "run"), folder, queue_seconds=60.0)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def http(tasks: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{tasks.endpoint.http}", timeout=20) as opened:
        yield opened


def asked(http: httpx.Client, task: str, entity: str, **columns: Any) -> Any:
    answer = http.post(f"/v1/predict/{task}", json={"entity": entity, "columns": columns})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_next_answer_sees_the_click(http: httpx.Client) -> None:
    before = {task: asked(http, task, who)["score"] for task, who in (("churn", "u1"), ("demand", "i2"), ("intent", "u1"))}
    other = asked(http, "churn", "u2")["score"]
    begun = time.monotonic()
    event = {"user_id": "u1", "item_id": "i2", "event_type": "purchase", "price": 900.0, "quantity": 2.0}
    assert http.post("/v1/track", json={"events": [event]}).json()["accepted"] == 1
    after = {task: asked(http, task, who)["score"] for task, who in (("churn", "u1"), ("demand", "i2"), ("intent", "u1"))}
    assert time.monotonic() - begun < 1, "within a second"
    assert all(after[task] != before[task] for task in before)
    assert asked(http, "churn", "u2")["score"] == other, "others are as they were"


def test_it_is_what_the_columns_of_the_batch_make(http: httpx.Client, tasks: Gateway) -> None:
    now = time.time_ns() // 1000 - 1_000_000
    event = {"user_id": "u3", "item_id": "i4", "event_type": "cart", "price": 7.0, "timestamp": now}
    assert http.post("/v1/track", json={"events": [event]}).json()["accepted"] == 1
    found = asked(http, "churn", "u3")["score"]

    log = random_log(8)
    row = {**dict.fromkeys(log.columns), **event, "timestamp": now}
    stamp = pl.Series([now]).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    later = pl.DataFrame({**{name: [value] for name, value in row.items()}, "timestamp": stamp}, schema=log.schema)
    columns = batch_columns("churn", pl.concat([log, later]), ["u3"], time.time_ns() // 1000)
    given = {name: values[0] for name, values in columns.items()}
    with Client(tasks.endpoint.grpc) as client:
        assert client.predict("churn", "u3", given).score == pytest.approx(found, rel=1e-4)
        assert client.predict("churn", "u3").score == pytest.approx(found, rel=1e-4), "through KServe as well"


def test_a_stranger_is_known_by_what_they_did(http: httpx.Client) -> None:
    unseen = asked(http, "churn", "somebody new")
    http.post(
        "/v1/track", json={"events": [{"user_id": "somebody new", "item_id": "i1", "event_type": "purchase", "price": 5.0}]}
    )
    seen = asked(http, "churn", "somebody new")
    assert seen["score"] != unseen["score"]
    assert seen["known"] is False, "the export stores nothing of them"


def test_a_column_that_is_given_stays(http: httpx.Client) -> None:
    event = {"user_id": "u4", "item_id": "i3", "event_type": "view"}
    http.post("/v1/track", json={"events": [event]})
    few, many = (asked(http, "churn", "u4", user_events=value)["score"] for value in (0.0, 1000.0))
    assert few != many


def test_a_price_that_is_set_is_seen(http: httpx.Client) -> None:
    before = asked(http, "demand", "i7")["score"]
    answer = http.put("/v1/items", json={"items": [{"item_id": "i7", "price": 5000.0}]})
    assert answer.status_code == 200, answer.text
    assert asked(http, "demand", "i7")["score"] != before


def test_ranking_sees_a_price_that_is_set(http: httpx.Client, tasks: Gateway) -> None:
    local = LocalRepository(Path(tasks.run) / "repository")
    with Client(tasks.endpoint.grpc) as client:
        before = client.recommend("u2", k=30, timestamp="snapshot")
        item = str(before.items[4].item_id)
        assert http.put("/v1/items", json={"items": [{"item_id": item, "price": 4321.0}]}).status_code == 200
        begun = time.monotonic()
        after = client.recommend("u2", k=30, timestamp="snapshot")
        assert time.monotonic() - begun < 1, "within a second"
    scores = {str(each.item_id): each.score for each in after}
    old = {str(each.item_id): each.score for each in before}
    assert {each for each in old if scores.get(each) != pytest.approx(old[each], rel=1e-6)} == {item}
    place = 1 + sorted(f"{1000 + number}" for number in range(30)).index(item)
    expected = local.ask("recommend", user_id=[["u2"]], k=[30], priced=[[place]], prices=[[4321.0]])
    wanted = zip(expected["items"][0], expected["scores"][0], strict=True)
    assert scores == {name: pytest.approx(score, rel=1e-5) for name, score in wanted if name}


def test_nobody_else_may_tell_prices(tasks: Gateway) -> None:
    with grpc.insecure_channel(tasks.endpoint.grpc) as channel:
        request = infer("recommend", user_id=["u1"])
        request.inputs.add(name="priced", datatype="INT32", shape=[1, 1])
        request.raw_input_contents.append(bytes(4))
        told = refusal(lambda: rpc(channel, "ModelInfer", request))
    assert told == ("INVALID_ARGUMENT", "The input 'priced' is the gateway's own; set prices by SetItems.")
