"""What a client refuses before anything is sent, and that ids come back as they went in."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartwheel.core.errors import ServerError, UsageError
from serving.client.answers import Metadata, ShopId, parse_metadata
from serving.client.requests import Happened, Question, RecommendRequest, ask_cart, ask_recommend, ask_similar_items
from serving.contract.limits import Limits
from serving.settings import ServeSettings

STRINGS = Metadata(max_k=20)
NUMBERS = Metadata(item_id_type="int64", user_id_type="int64", max_k=20)


def sent(question: Question[Any]) -> dict[str, tuple[list[int], Any]]:
    """The tensors of a question as they travel: name -> (shape, values)."""
    tensors = {}
    for tensor in question.inputs:
        raw = tensor._get_content()
        if tensor.datatype() == "BYTES":
            values: Any = []
            while raw:
                (length,) = struct.unpack_from("<I", raw)
                values.append(raw[4 : 4 + length])
                raw = raw[4 + length :]
        else:
            values = np.frombuffer(raw, {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32}[tensor.datatype()]).tolist()
        tensors[tensor.name()] = (tensor.shape(), values)
    return tensors


def ask(request: RecommendRequest, k: Any = 10, diversity: Any = None) -> dict[str, tuple[list[int], Any]]:
    return sent(ask_recommend([request], k, diversity, STRINGS))


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_comes_back_as_it_went(item: int) -> None:
    (_, (text,)) = sent(ask_similar_items(item, 1, NUMBERS))["item_id"]
    assert NUMBERS.item_id(text) == item


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_string_comes_back_as_it_went(item: str) -> None:
    (_, (text,)) = sent(ask_similar_items(item, 1, STRINGS))["item_id"]
    assert STRINGS.item_id(text) == item


def test_a_line_told_twice_is_one_line_and_is_answered_twice() -> None:
    question = ask_cart(["a", 7, "a"], None, (), 1, None, STRINGS)
    assert sent(question)["cart_items"] == ([1, 2], [b"7", b"a"])
    chances = {"line_probability": np.array([[0.25, 0.5]]), "cart_probability": np.array([[0.75]])}
    nothing = {"items": np.array([[b""]], object), "scores": np.array([[-np.inf]])}
    answer = question.parse({**chances, **nothing})
    assert [(line.item_id, line.probability) for line in answer.lines] == [("a", 0.5), (7, 0.25), ("a", 0.5)]
    assert [line.probability for line in question.parse(nothing).lines] == [None] * 3


def test_rows_of_different_length_are_filled_with_empty_ids() -> None:
    requests = [RecommendRequest("a", recent_items=["x", "y"]), RecommendRequest(), RecommendRequest("c", exclude=[np.int64(5)])]
    tensors = sent(ask_recommend(requests, 4, 0.5, STRINGS))
    assert tensors["user_id"] == ([3, 1], [b"a", b"", b"c"])
    assert tensors["recent_items"] == ([3, 2], [b"x", b"y", b"", b"", b"", b""])
    assert tensors["exclude"] == ([3, 1], [b"", b"", b"5"])
    assert tensors["k"] == ([1], [4])
    assert tensors["diversity"] == ([1], [0.5])


def test_events_are_sent_as_what_is_known_of_them() -> None:
    when = datetime(2024, 5, 1, tzinfo=timezone.utc)
    events = [Happened("x", "purchase", when, 2.5), Happened(7)]
    tensors = sent(ask_recommend([RecommendRequest("a", events=events), RecommendRequest()], 1, None, STRINGS))
    assert tensors["events_item"] == ([2, 2], [b"x", b"7", b"", b""])
    assert tensors["events_type"] == ([2, 2], [b"purchase", b"", b"", b""])
    assert tensors["events_time"] == ([2, 2], [1_714_521_600_000_000, 0, 0, 0])
    np.testing.assert_array_equal(tensors["events_price"][1], [2.5, np.nan, np.nan, np.nan])
    of_cart = sent(ask_cart(["a"], None, (), 1, None, STRINGS, [Happened("y")]))
    assert of_cart["events_item"] == ([1, 1], [b"y"])


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([Happened("x", price=-1)], r"events\[0\]\.price is -1; expected a number of at least 0"),
        ([Happened("x", price=True)], r"events\[0\]\.price is True"),
        ([Happened("x", timestamp=datetime(2024, 5, 1))], "has no time zone"),
        ([Happened(None)], r"events\.item_id\[0\] is None"),  # type: ignore[arg-type]
        ([Happened("x")] * 257, "events holds 257 events; this server reads at most 256"),
    ],
)
def test_events_that_cannot_be_honoured_are_named(events: list[Happened], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask_recommend([RecommendRequest(events=events)], 1, None, LIMITED)


def test_what_is_not_given_is_not_sent() -> None:
    assert set(ask(RecommendRequest())) == {"user_id", "timestamp", "k"}


def test_now_is_sent_unless_another_time_is_given() -> None:
    before = datetime.now(timezone.utc)
    ((now,), instant, snapshot) = (ask(RecommendRequest(timestamp=when))["timestamp"][1] for when in (None, before, "snapshot"))
    assert instant == [(before - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)]
    assert instant[0] <= now < instant[0] + 60_000_000
    assert snapshot == [0]


def test_an_empty_cart_is_a_normal_request() -> None:
    assert sent(ask_cart([], None, (), 10, None, STRINGS))["cart_items"] == ([1, 1], [b""])


@pytest.mark.parametrize("k", [0, -1, 21, 10**12])
def test_a_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(UsageError, match=rf"k is {k}; this server answers 1 to 20 items"):
        ask(RecommendRequest(), k)


@pytest.mark.parametrize("k", ["ten", 2.0, True, None])
def test_a_k_that_is_no_whole_number_is_refused(k: Any) -> None:
    with pytest.raises(UsageError, match=r"k is .*expected a whole number"):
        ask(RecommendRequest(), k)


@pytest.mark.parametrize("diversity", [-0.1, float("nan"), float("inf"), 1_000_001, "much", True])
def test_a_diversity_that_cannot_be_is_refused(diversity: Any) -> None:
    with pytest.raises(UsageError, match=r"diversity is .*expected a number of at least 0"):
        ask(RecommendRequest(), diversity=diversity)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (RecommendRequest(user_id=4.0), r"user_id is 4\.0, a float; expected a string or a whole number"),  # type: ignore[arg-type]
        (RecommendRequest(user_id=True), r"user_id is True, a bool"),
        (RecommendRequest(user_id="\ud800"), r"user_id is .* not valid text"),
        (RecommendRequest(recent_items=["a", None]), r"recent_items\[1\] is None, a NoneType"),  # type: ignore[list-item]
        (RecommendRequest(exclude="lamp"), r"exclude is 'lamp'; expected a list of item ids"),
        (RecommendRequest(exclude=7), r"exclude is 7; expected a list of item ids"),  # type: ignore[arg-type]
        (RecommendRequest(timestamp=datetime(2024, 5, 1)), r"2024-05-01T00:00:00, which has no time zone"),
        (RecommendRequest(timestamp="yesterday"), r"timestamp is 'yesterday'; expected a datetime"),  # type: ignore[arg-type]
    ],
)
def test_a_field_that_cannot_be_honoured_is_named(request_: RecommendRequest, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask(request_)


def test_nothing_to_ask_is_refused() -> None:
    with pytest.raises(UsageError, match="requests is empty"):
        ask_recommend([], 1, None, STRINGS)
    with pytest.raises(UsageError, match=r"item_id is empty"):
        ask_similar_items("", 1, STRINGS)
    with pytest.raises(UsageError, match=r"cart_items\[1\] is empty"):
        ask_cart(["a", ""], None, (), 1, None, STRINGS)


LIMITED = Metadata(
    max_k=20, limits=Limits.of(ServeSettings(max_rows=2, max_message_bytes=200, max_cart_items=3, max_exclude=9), 64)
)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (lambda: ask_recommend([RecommendRequest()] * 3, 1, None, LIMITED), "requests holds 3 shoppers; .* at most 2 at once"),
        (
            lambda: ask_cart(["a", "b", "c", "d"], None, (), 1, None, LIMITED),
            r"cart_items holds 4 items; .* at most 3\..*max_cart",
        ),
        (lambda: ask_cart(["a"], None, ["x"] * 1001, 1, None, LIMITED), "recent_items holds 1,001 items; .* at most 1,000"),
        (lambda: ask_recommend([RecommendRequest(exclude=range(10))], 1, None, LIMITED), "exclude holds 10 items; .* at most 9"),
        (lambda: ask_recommend([RecommendRequest("x" * 197)], 1, None, LIMITED), "holds 201 bytes; .* at most 200"),
    ],
)
def test_what_the_server_would_refuse_for_its_size_is_not_sent(question: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        question()


def test_what_is_just_within_the_limits_is_sent() -> None:
    sent(ask_recommend([RecommendRequest("x" * 192), RecommendRequest(timestamp="snapshot")], 1, None, LIMITED))
    sent(ask_cart(["a", "b", "c"], None, (), 1, None, LIMITED))
    sent(ask_recommend([RecommendRequest(exclude=iter("abcdefghi"))], 1, None, LIMITED))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "expected"), [("int64", 42), ("string", "42")])
def test_metadata_says_how_ids_are_written(kind: str, expected: ShopId) -> None:
    metadata = parse_metadata({"item_id_type": kind, "max_k": "7", "as_of": "2024-05-01T00:00:00Z"}, "here:1")
    assert metadata.item_id(b"42") == expected
    assert metadata.max_k == 7
    assert metadata.as_of == datetime(2024, 5, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "parameters", [{"item_id_type": "float"}, {"max_k": "many"}, {"as_of": "then"}, {"limits": "{}"}, {"limits": "none"}]
)
def test_metadata_that_cannot_be_read_is_explained(parameters: dict[str, str]) -> None:
    with pytest.raises(ServerError, match=r"parameters of the ensembles at here:1 cannot be read"):
        parse_metadata(parameters, "here:1")
