"""JSON over HTTP: the answers are those of Cartwheel's client, and whatever is wrong is the caller's to read about."""

import json
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from running_gateway import Gateway
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from serving.client.client import Client

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PATHS = ("/v1/recommend", "/v1/cart", "/v1/similar_items", "/v1/track")


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Any:
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}", timeout=20) as opened:
        yield opened


@pytest.fixture(scope="module")
def shop(gateway: Gateway) -> Any:
    with Client(gateway.endpoint.grpc) as opened:
        yield opened


def test_it_answers_as_the_client_does(http: httpx.Client, shop: Client) -> None:
    asked = {"user_id": "u1", "recent_items": [1003], "exclude": ["1005"], "k": 4, "timestamp": "snapshot", "diversity": 0.5}
    answer = http.post("/v1/recommend", json=asked).json()
    expected = shop.recommend("u1", recent_items=[1003], exclude=[1005], k=4, timestamp="snapshot", diversity=0.5)
    assert [item["item_id"] for item in answer["items"]] == list(expected.item_ids)
    assert [item["because_of"] for item in answer["items"]] == [item.because_of for item in expected]
    assert [item["reason"] for item in answer["items"]] == [item.reason.name.lower() for item in expected]
    assert answer["rung"] == "ranked"
    cart = http.post("/v1/cart", json={"cart_items": [1003, 1004], "timestamp": "snapshot"}).json()
    told = shop.cart([1003, 1004], timestamp="snapshot")
    assert cart["probability"] == pytest.approx(told.probability)
    assert [line["probability"] for line in cart["lines"]] == pytest.approx([line.probability for line in told.lines])
    similar = http.post("/v1/similar_items", json={"item_id": 1003, "k": 3}).json()
    assert [item["item_id"] for item in similar["items"]] == [item.item_id for item in shop.similar_items(1003, k=3)]


def test_a_request_is_named_in_its_answer(http: httpx.Client) -> None:
    answer = http.post("/v1/similar_items", json={"item_id": 1003}, headers={"x-request-id": "mine"})
    assert (answer.json()["request_id"], answer.headers["x-request-id"]) == ("mine", "mine")
    made = http.post("/v1/similar_items", json={}, headers={"x-request-id": "no id, for it has spaces"})
    assert made.json()["request_id"] == made.headers["x-request-id"] != "no id, for it has spaces"


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("recommend", {"user_id": True}, "user_id: Input should be a valid string, or Input should be a valid integer."),
        ("recommend", {"recent_items": [1, 2, {}]}, "recent_items[2]: Input should be a valid string"),
        ("recommend", {"recent_items": "1003"}, "recent_items: Input should be a valid list."),
        ("recommend", {"k": 0}, "k: Input should be greater than or equal to 1."),
        ("recommend", {"k": 101}, "k is 101; this server answers 1 to 100 items."),
        ("recommend", {"k": 1.5}, "k: Input should be a valid integer."),
        ("recommend", {"diversity": -1}, "diversity: Input should be greater than or equal to 0."),
        ("recommend", {"timestamp": "2024-01-01T00:00:00"}, "timestamp: Input should have timezone info, or Input should be 'snapshot'."),
        ("recommend", {"timestamp": "1960-01-01T00:00:00Z"}, "The input 'timestamp' holds -315619200000000; give Unix microseconds"),
        ("recommend", {"recent_items": [1003] * 1001}, "recent_items holds 1,001 items; this server reads at most 1,000."),
        ("recommend", {"unknown": 1}, "unknown: Extra inputs are not permitted."),
        ("cart", {}, "cart_items: Field required."),
        ("cart", {"cart_items": [""]}, "cart_items[0] is empty."),
        ("cart", {"cart_items": [2**63]}, "cart_items[0]: Input should be a valid string, or Input should be less than 9"),
        ("similar_items", {"item_id": ""}, "item_id is empty."),
        ("similar_items", {"item_id": None}, "item_id: Input should be a valid string"),
        ("similar_items", [], "The body is no JSON object that can be read"),
    ],
)  # fmt: skip
def test_a_wrong_body_names_the_field(http: httpx.Client, path: str, body: Any, sentence: str) -> None:
    answer = http.post(f"/v1/{path}", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(sentence)
    assert answer.json()["reason"] in {"invalid", "triton"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 422),
        (b'{"user_id": "\\ud800"}', 422),
        (b'{"k": ' + b"9" * 5000 + b"}", 400),
        (b'{"diversity": NaN}', 422),
        (b'{"user_id": "' + b"u" * (10 << 20) + b'"}', 413),
        (b'{"user_id": "' + b"u" * (5 << 20) + b'"}', 422),
    ],
)
def test_a_body_that_is_no_json_is_the_caller_s_mistake(http: httpx.Client, body: bytes, status: int) -> None:
    answer = http.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].isprintable()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/recommend", 405), ("POST", "/v1/nothing", 404), ("POST", "/v1/predict/x", 404), ("GET", "/", 404)],
)
def test_what_is_not_there_is_told_in_json(http: httpx.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "reason", "request_id"})


def test_a_caller_s_time_is_kept(http: httpx.Client) -> None:
    assert http.post("/v1/recommend", json={}, headers={"x-timeout-ms": "0"}).status_code == 422
    answers = [http.post("/v1/recommend", json={"k": 100, "ranked_only": True}, headers={"x-timeout-ms": "1"}) for _ in range(20)]
    late = [answer for answer in answers if answer.status_code == 504]
    assert late
    assert {answer.status_code for answer in answers} <= {200, 504}
    assert "within the 0.001 s that it had" in late[0].json()["error"]
    assert http.post("/v1/recommend", json={}).status_code == 200


def test_whatever_the_page_allows_is_answered_as_it_says(gateway: Gateway) -> None:
    schema = schemathesis.openapi.from_url(f"http://{gateway.endpoint.http}/openapi.json")

    for operation in schema.get_all_operations():
        found = operation.ok()
        if not found.path.startswith("/v1/"):
            continue

        @settings(max_examples=25, deadline=None)
        @given(case=found.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
        def check(case: Any) -> None:
            if "x-timeout-ms" in case.headers:
                case.headers["x-timeout-ms"] = "60000"  # 504 is right for a caller in a hurry
            case.call_and_validate(checks=CHECKS)

        check()


@settings(max_examples=80, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    body=st.dictionaries(
        st.sampled_from(["user_id", "recent_items", "exclude", "timestamp", "k", "diversity", "cart_items", "item_id", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
        ),
    ),
)
def test_any_json_is_answered_or_refused(http: httpx.Client, path: str, body: Any) -> None:
    answer = http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in {200, 400, 422}, answer.text
    assert json.loads(answer.text)["request_id"]
