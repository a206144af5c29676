"""A click counts in the next answer, on every ensemble and through every door, and whatever comes in is taken in, counted or named."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from running_gateway import Gateway
from tritonclient.grpc import InferenceServerClient

from serving.client.client import Client
from serving.client.requests import Happened
from serving.contract.shop import MESSAGES

NEVER = "nobody stored"


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}", timeout=20) as opened:
        yield opened


@pytest.fixture(scope="module")
def shop(gateway: Gateway) -> Iterator[Client]:
    with Client(gateway.endpoint.grpc) as opened:
        yield opened


def track(channel: grpc.Channel, *events: dict[str, Any]) -> Any:
    call = channel.unary_unary(
        "/cartwheel.v1.Shop/Track",
        request_serializer=MESSAGES["TrackRequest"].SerializeToString,
        response_deserializer=MESSAGES["TrackResponse"].FromString,
    )
    return call(MESSAGES["TrackRequest"](events=[MESSAGES["ShopEvent"](**event) for event in events]), timeout=20)


def click(user: str, item: str, kind: str = "view", **more: Any) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "event_type": kind, **more}


@pytest.mark.parametrize("user", ["u12", "u7", NEVER])
def test_the_next_request_after_a_click_sees_it(http: httpx.Client, shop: Client, user: str) -> None:
    before = shop.recommend(user, k=5), shop.cart([1001], user_id=user, k=5)
    seen = before[0].item_ids[0]
    begun = time.monotonic()
    answer = http.post("/v1/track", json={"events": [click(user, str(seen)), click(user, "1007", "cart", price=3.5)]})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["accepted"], answer.json()["refused"]) == (2, [])
    after = shop.recommend(user, k=5), shop.cart([1001], user_id=user, k=5)
    assert time.monotonic() - begun < 1, "within a second"
    assert seen not in after[0].item_ids, "what was looked at is left out"
    assert list(after[0].item_ids) != list(before[0].item_ids)
    assert after[1].lines != before[1].lines
    assert list(after[1].completions) != list(before[1].completions)
    typed = http.post("/v1/recommend", json={"user_id": user, "k": 5}).json()
    assert [item["item_id"] for item in typed["items"]] == list(after[0].item_ids)


def test_similar_items_for_somebody_leave_out_what_they_saw_and_hold(http: httpx.Client, shop: Client) -> None:
    everybody = [item.item_id for item in shop.similar_items(1005, k=8)]
    before = [item.item_id for item in shop.similar_items(1005, k=8, user_id="similar")]
    assert before == everybody, "nothing is known of them yet"
    seen, held = everybody[0], everybody[3]
    http.post("/v1/track", json={"events": [click("similar", str(seen)), click("similar", str(held), "cart")]})
    after = [item.item_id for item in shop.similar_items(1005, k=8, user_id="similar")]
    rest = [item for item in everybody if item not in (seen, held)]
    assert after[: len(rest)] == rest
    assert not {seen, held} & set(after)
    typed = http.post("/v1/similar_items", json={"item_id": 1005, "user_id": "similar", "k": 8}).json()
    assert [item["item_id"] for item in typed["items"]] == after
    assert [item.item_id for item in shop.similar_items(1005, k=8)] == everybody


def test_it_is_what_the_same_events_given_by_hand_make(channel: grpc.Channel, gateway: Gateway, shop: Client) -> None:
    now = time.time_ns() // 1000
    assert (
        track(channel, click("u3", "1012", timestamp=now), click("u3", "1013", "purchase", timestamp=now, price=9.0)).accepted
        == 2
    )
    events = [Happened("1012", "view", _at(now)), Happened("1013", "purchase", _at(now), 9.0)]
    later = _at(now + 60_000_000)
    joined, given = shop.recommend("u3", timestamp=later), shop.recommend("u3", timestamp=later, events=events)
    assert joined == given
    assert joined != shop.recommend("u3", timestamp=later, events=events[:1])
    assert shop.cart([1002], user_id="u3", timestamp=later) == shop.cart([1002], user_id="u3", timestamp=later, events=events)


def _at(microseconds: int) -> Any:
    from datetime import datetime, timedelta, timezone

    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)


def test_rows_of_a_request_have_each_their_own_events(channel: grpc.Channel, gateway: Gateway) -> None:
    track(channel, click("u5", "1020"), click("u5", "1021"), click("u6", "1022"))
    with InferenceServerClient(gateway.endpoint.grpc) as triton:
        together = _recommended(triton, [["u5"], ["u6"], [""], ["u8"]])
        for place, user in enumerate(("u5", "u6", "", "u8")):
            assert together[place].tolist() == _recommended(triton, [[user]])[0].tolist(), user


def _recommended(triton: InferenceServerClient, users: list[list[str]]) -> np.ndarray:
    from tritonclient.grpc import InferInput

    who = InferInput("user_id", [len(users), 1], "BYTES")
    who.set_data_from_numpy(np.array(users, dtype=object))
    when = InferInput("timestamp", [len(users), 1], "INT64")
    when.set_data_from_numpy(np.full((len(users), 1), 4_000_000_000_000_000))
    return triton.infer("recommend", [who, when]).as_numpy("items")


def test_the_same_id_is_counted_once_and_what_is_wrong_is_named_and_kept_aside(
    http: httpx.Client, channel: grpc.Channel, gateway: Gateway
) -> None:
    sound = click("u9", "1003", event_id="once")
    answer = http.post("/v1/track", json={"events": [sound, sound, {**sound, "event_type": "odd"}, 7]}).json()
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    assert [(event["index"], event["reason"]) for event in answer["refused"]] == [(2, "unknown event type"), (3, "not an event")]
    again = track(channel, sound, {"user_id": "u9"})
    assert (again.accepted, again.duplicates, again.refused[0].reason) == (0, 1, "missing item_id")
    letters = (Path(gateway.run) / "live" / "dead-letters.jsonl").read_text().splitlines()
    assert {"unknown event type", "not an event", "missing item_id"} <= {json.loads(line)["reason"] for line in letters}
    metrics = http.get("/metrics").text
    assert 'cartwheel_tracked_total{outcome="duplicate"}' in metrics
    assert 'cartwheel_tracked_total{outcome="missing item_id"}' in metrics


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"events": []}, "The request holds 0 events; give 1 to 1,000 (serve.max_track_events)."),
        ({"events": [{}] * 1001}, "The request holds 1,001 events; give 1 to 1,000 (serve.max_track_events)."),
        ({"events": {}}, "events: Input should be a valid list. See /docs."),
        ({}, "events: Field required. See /docs."),
    ],
)
def test_a_request_of_too_many_or_none_is_named(http: httpx.Client, body: Any, sentence: str) -> None:
    answer = http.post("/v1/track", json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, sentence)


def test_an_event_that_lies_ahead_of_the_question_is_not_seen(http: httpx.Client, shop: Client) -> None:
    instant = time.time_ns() // 1000 - 3_600_000_000
    around = [_at(instant + step) for step in (0, 1)]
    before = [shop.recommend("u11", timestamp=when) for when in around]
    event = click("u11", str(before[0].item_ids[0]), timestamp=instant)
    assert http.post("/v1/track", json={"events": [event]}).json()["accepted"] == 1
    after = [shop.recommend("u11", timestamp=when) for when in around]
    assert after[0].item_ids == before[0].item_ids
    assert after[1].item_ids != before[1].item_ids
