"""The encode step against the same rules in plain Python, for any request."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_run import AS_OF_US, HOUR_US, SESSION_GAP_US, SyntheticRun

from serving.export.parity import unpacked
from serving.local import LocalRepository
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.features.columns import QUERY, QUERY_CONTINUOUS, QUERY_LISTS, STRINGS

LENGTH = 5
SHOP = SyntheticRun(Path("unused"), items=50, users=20, seed=7, cart=True, dimension=8, recents=LENGTH)
ITEMS = {item: place for place, item in enumerate(SHOP.item_ids)}

ids = st.sampled_from([*SHOP.item_ids[:8], "", "unknown", "ünbekannt", "1049"])
lists = st.lists(ids, min_size=1, max_size=9)
requests = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from([*SHOP.user_ids[:8], "", "nobody"]),
        "recent_items": st.one_of(st.just([""]), lists),
        "cart_items": st.one_of(st.just([""]), lists),
        "exclude": lists,
        "timestamp": st.one_of(st.just(0), st.integers(AS_OF_US - HOUR_US, AS_OF_US + 200 * HOUR_US)),
    }
)


def last_distinct(items: list[str]) -> list[str]:
    """The last mention of each item, oldest first."""
    return list(dict.fromkeys(item for item in reversed(items) if item))[::-1]


def stored_items(request: dict[str, Any]) -> list[str]:
    """The recent items that the snapshot stores of who asks."""
    known_user = request["user_id"] in SHOP.user_ids
    return list(SHOP.users["recent_items"][SHOP.user_ids.index(request["user_id"])]) if known_user else []


def known(items: list[str], column: str) -> list[str]:
    return [SHOP.items[column][ITEMS[item]] if item in ITEMS else "" for item in items]


def raw_query(request: dict[str, Any]) -> dict[str, Any]:
    """The raw QUERY columns that a request should have."""
    now = request["timestamp"] or AS_OF_US
    when = datetime.fromtimestamp(now / 1e6, tz=timezone.utc)
    query: dict[str, Any] = dict.fromkeys(QUERY_CONTINUOUS, 0.0)
    query |= {
        "user_id": request["user_id"] if request["user_id"] in SHOP.user_ids else "",
        "hour": when.hour,
        "weekday": when.isoweekday(),
    }
    query |= {"user_recency_hours": np.nan, "user_mean_price": np.nan}
    stored: list[str] = []
    priced = 0.0
    looked, lines = last_distinct(request["recent_items"]), last_distinct(request["cart_items"])
    told = looked + lines
    start = now - 1
    if request["user_id"] in SHOP.user_ids:
        place = SHOP.user_ids.index(request["user_id"])
        user = {name: values[place] for name, values in SHOP.users.items()}
        idle = max(now - user["last_seen"], 0)
        query |= {name: user[name] for name in ("user_events", "user_views", "user_carts", "user_purchases")}
        query["user_mean_price"] = np.nan if user["user_mean_price"] is None else user["user_mean_price"]
        priced = user["priced_events"]
        query["user_recency_hours"] = idle / HOUR_US
        if idle - bool(told) <= SESSION_GAP_US:
            query["session_events"] = user["session_events"]
            query["session_minutes"] = max(now - user["session_start"], 0) / (HOUR_US / 60)
            start = user["session_start"]
        stored = user["recent_items"]
    if told:
        query |= {"user_recency_hours": 1 / HOUR_US, "session_minutes": max(now - start, 0) / (HOUR_US / 60)}
    for name, number in (("user_views", len(looked)), ("user_carts", len(lines))):
        query[name] += number
        query["user_events"] += number
        query["session_events"] += number
    known_prices = [SHOP.items["item_price"][ITEMS[item]] for item in told if item in ITEMS]
    prices = [price for price in known_prices if price is not None]
    if prices:
        query["user_mean_price"] = (np.nan_to_num(query["user_mean_price"]) * priced + sum(prices)) / (priced + len(prices))
    recents = last_distinct(stored + told)
    query["recent_items"] = recents[-LENGTH:]
    query["recent_categories"] = known(query["recent_items"], "item_category")
    query["recent_brands"] = known(query["recent_items"], "item_brand")
    return query


def feed(name: str, values: list[Any]) -> np.ndarray:
    if name in QUERY_LISTS:
        return np.array([[*value, *[""] * (LENGTH - len(value))] for value in values], dtype=object)
    if name in STRINGS:
        return np.array(values, dtype=object).reshape(-1, 1)
    return np.array(values, np.int64 if name in ("hour", "weekday") else np.float32).reshape(-1, 1)


def tensors(batch: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Several requests as one, padded."""
    made = {}
    for name in ("recent_items", "cart_items", "exclude"):
        width = max(len(request[name]) for request in batch)
        made[name] = np.array([[*request[name], *[""] * (width - len(request[name]))] for request in batch], dtype=object)
    made["user_id"] = np.array([[request["user_id"]] for request in batch], dtype=object)
    made["timestamp"] = np.array([[request["timestamp"]] for request in batch], np.int64)
    return made


@pytest.fixture(scope="module")
def workflow(run: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(run / "workflow/query.onnx"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(batch=st.lists(requests, min_size=1, max_size=4))
def test_any_request_is_encoded_by_the_rules(
    local: LocalRepository, workflow: onnxruntime.InferenceSession, batch: list[dict[str, Any]]
) -> None:
    answer = local.run("recommend_encode", tensors(batch))
    queries = [raw_query(request) for request in batch]
    names = [output.name for output in workflow.get_outputs()]
    expected = workflow.run(names, {name: feed(name, [query[name] for query in queries]) for name in QUERY})
    served = unpacked(answer, LENGTH)
    for name, value in zip(names, expected, strict=True):
        np.testing.assert_allclose(served[name.removesuffix(ENCODED_SUFFIX)], value, rtol=1e-6, atol=1e-6, err_msg=name)
    count = len(SHOP.item_ids)
    for row, (request, query) in enumerate(zip(batch, queries, strict=True)):
        recents = [ITEMS.get(item, count) for item in query["recent_items"]]
        assert answer["recents"][row, :LENGTH].tolist() == recents + [-1] * (LENGTH - len(recents))
        barred = {
            ITEMS.get(item, count) for item in (*request["exclude"], *request["recent_items"], *request["cart_items"]) if item
        }
        barred |= {ITEMS[item] for item in stored_items(request)}
        if request["user_id"] in SHOP.user_ids:
            barred |= set(SHOP.users["left_out"][SHOP.user_ids.index(request["user_id"])])
        assert set(answer["excluded"][row].tolist()) - {-1} == barred
        lines = [ITEMS.get(item, count) if item else -1 for item in request["cart_items"]]
        assert answer["cart_index"][row, : len(lines)].tolist() == lines
        assert answer["cart_counts"][row].sum() == len(last_distinct(request["cart_items"]))
        assert bool(answer["known_user"][row, 0]) == (request["user_id"] in SHOP.user_ids)


def test_what_is_left_out_is_as_if_empty(local: LocalRepository) -> None:
    full = tensors([{"user_id": "u3", "recent_items": [""], "cart_items": [""], "exclude": [""], "timestamp": 0}])
    least = local.run("recommend_encode", {"user_id": full["user_id"]})
    for name, value in local.run("recommend_encode", full).items():
        np.testing.assert_array_equal(least[name], value)


def test_lists_may_be_of_no_width_and_very_long(local: LocalRepository) -> None:
    nothing = {"user_id": np.array([["u3"]], dtype=object), "recent_items": np.zeros((1, 0), dtype=object)}
    assert local.run("recommend_encode", nothing)["recents"].shape == (1, 3 * LENGTH)
    many = np.array([[str(number) for number in range(100_000)]], dtype=object)
    answer = local.run("recommend_encode", {"recent_items": many, "exclude": many})
    assert answer["recents"][0, :LENGTH].tolist() == [50] * LENGTH
