"""Rules at request time, over gRPC, HTTP and KServe: what is answered is what remains of the same scores when the rest is taken out."""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_gateway import Gateway, infer, refusal, rpc, until
from tritonclient.grpc import InferResult, service_pb2

from serving.client.client import Client
from serving.contract.shop import MESSAGES
from serving.rules.rules import Rules

FILTERS = {
    "price < 40": lambda item: item["price"] is not None and item["price"] < 40,
    'not brand == "acme"': lambda item: item["brand"] != "acme",
    'category in ("books", "music") or recent_events > 20': lambda item: (
        item["category"] in ("books", "music") or item["recent_events"] > 20
    ),
    "price is not None and price * 2 >= 30": lambda item: item["price"] is not None and item["price"] * 2 >= 30,
    "events > 1000": lambda _item: False,
}
CATEGORIES, BRANDS = ["books", "garden", "tøys", "music"], ["acme", "zeta"]


@pytest.fixture(scope="module")
def shop(gateway: Gateway) -> Iterator[Client]:
    with Client(gateway.endpoint.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}", timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def items(run: Path) -> dict[str, dict[str, Any]]:
    table = pq.read_table(run / "snapshot" / "items.parquet")
    columns = {name.removeprefix("item_"): table[name].to_pylist() for name in table.column_names}
    return {identity: {name: values[place] for name, values in columns.items()} for place, identity in enumerate(columns["id"])}


@pytest.fixture(scope="module")
def ranked(shop: Client) -> dict[str, list[tuple[str, float]]]:
    """Every item that each of some shoppers may be answered, the best first."""
    answers = {user: shop.recommend(user or None, k=50, timestamp="snapshot") for user in ("", "u1", "u2", "u4")}
    return {user: [(str(item.item_id), item.score) for item in answer] for user, answer in answers.items()}


def call(channel: grpc.Channel, method: str, **fields: Any) -> Any:
    ask = channel.unary_unary(f"/cartwheel.v1.Shop/{method}", response_deserializer=MESSAGES[f"{method}Response"].FromString)
    return ask(MESSAGES[f"{method}Request"](**fields).SerializeToString(), timeout=20)


def expected(pool: list[tuple[str, float]], items: dict[str, dict[str, Any]], rules: dict[str, Any], k: int) -> list[str]:
    """Filter the scored items, then choose place by place: the rules in plain Python."""

    def passes(identity: str) -> bool:
        item = items[identity]
        bounds = (rules.get("min_price"), rules.get("max_price"))
        known = item["price"] is not None
        return (
            (not rules.get("where") or FILTERS[rules["where"]](item))
            and (not rules.get("allow") or identity in rules["allow"])
            and identity not in rules.get("cart_items", ())
            and all(
                not rules.get(field) or item[name] in rules[field]
                for field, name in (("categories", "category"), ("brands", "brand"))
            )
            and (bounds[0] is None or (known and item["price"] >= bounds[0]))
            and (bounds[1] is None or (known and item["price"] <= bounds[1]))
        )

    left = [identity for identity, _ in pool if passes(identity)]
    pins = {pin["position"] - 1: pin["item_id"] for pin in rules.get("pinned", ()) if passes(pin["item_id"])}
    pins = {place: identity for place, identity in pins.items() if place < k}
    left = [identity for identity in left if identity not in pins.values()]
    groups = [(name, most) for name in ("category", "brand") if (most := rules.get(f"max_per_{name}", 0))]
    counts = {name: Counter(items[identity][name] for identity in pins.values()) for name, _ in groups}
    answer: list[str] = []
    for place in range(k):
        if place in pins:
            answer.append(pins[place])
            continue
        free = [
            identity
            for identity in left
            if all(not items[identity][name] or counts[name][items[identity][name]] < most for name, most in groups)
        ]
        for promotion in rules.get("promoted", ()):
            match = FILTERS[promotion["where"]]
            if sum(match(items[one]) for one in answer) < math.floor(promotion["share"] * (place + 1) + 1e-9):
                wanted = [identity for identity in free if match(items[identity])]
                if wanted:
                    free = wanted
                    break
        if not free:
            answer += [pins[later] for later in sorted(pins) if later > place][: k - place]
            break
        answer.append(free[0])
        left.remove(free[0])
        for name, _ in groups:
            counts[name][items[free[0]][name]] += 1
    return answer


some_rules = st.fixed_dictionaries(
    {},
    optional={
        "where": st.sampled_from(list(FILTERS)),
        "allow": st.lists(st.integers(1000, 1051).map(str), min_size=1, max_size=30, unique=True),
        "cart_items": st.lists(st.integers(1000, 1051).map(str), max_size=5),
        "categories": st.lists(st.sampled_from([*CATEGORIES, "none"]), min_size=1, max_size=3, unique=True),
        "brands": st.lists(st.sampled_from(BRANDS), min_size=1, max_size=2, unique=True),
        "min_price": st.floats(0, 60),
        "max_price": st.floats(20, 90),
        "max_per_category": st.integers(1, 3),
        "max_per_brand": st.integers(1, 5),
        "pinned": st.lists(
            st.fixed_dictionaries({"item_id": st.integers(1000, 1049).map(str), "position": st.integers(1, 12)}),
            max_size=3,
            unique_by=(lambda pin: pin["item_id"], lambda pin: pin["position"]),
        ),
        "promoted": st.lists(
            st.fixed_dictionaries({"where": st.sampled_from(list(FILTERS)), "share": st.sampled_from([0.2, 0.5, 1.0])}),
            max_size=2,
        ),
    },
)


@settings(deadline=None, max_examples=80)
@given(rules=some_rules, k=st.integers(1, 12), user=st.sampled_from(["", "u1", "u2", "u4"]))
def test_an_answer_is_what_remains_of_the_same_scores(
    channel: grpc.Channel, items: Any, ranked: Any, rules: dict[str, Any], k: int, user: str
) -> None:
    answer = call(channel, "Recommend", user_id=user, timestamp=0, k=k, rules=rules)
    found, scores = [item.item_id for item in answer.items], dict(ranked[user])
    assert found == expected(ranked[user], items, rules, k)
    assert (answer.fewer != "") == (len(found) < k)
    for item in answer.items:
        assert item.why
        if item.reason != "pinned":
            assert item.score == pytest.approx(scores[item.item_id], abs=1e-4)


def test_all_doors_answer_alike(channel: grpc.Channel, http: httpx.Client, shop: Client, items: Any, ranked: Any) -> None:
    rules = {"where": "price < 40", "max_per_category": 2, "pinned": [{"item_id": "1003", "position": 2}]}
    wanted = expected(ranked["u1"], items, rules, 6)
    typed = call(channel, "Recommend", user_id="u1", timestamp=0, k=6, rules=rules)
    assert [item.item_id for item in typed.items] == wanted
    body = {"user_id": "u1", "timestamp": "snapshot", "k": 6, "rules": rules}
    told = http.post("/v1/recommend", json=body).json()
    assert [str(item["item_id"]) for item in told["items"]] == wanted
    pinned = [item for item in told["items"] if item["reason"] == "pinned"]
    assert [(str(item["item_id"]), item["why"]) for item in pinned] == (
        [("1003", "Chosen by the shop.")] if "1003" in wanted else []
    )
    client = shop.recommend("u1", timestamp="snapshot", k=6, rules=Rules.model_validate(rules))
    assert [str(item.item_id) for item in client] == wanted
    few = shop.recommend("u1", k=6, rules=Rules(allow=("1001", "1002")))
    assert few.fewer.startswith(f"{len(few)} of 6 items are answered: ")


def test_rows_of_a_request_are_each_arranged(channel: grpc.Channel, items: Any, ranked: Any) -> None:
    request = service_pb2.ModelInferRequest(model_name="recommend")
    request.inputs.add(name="user_id", datatype="BYTES", shape=[3, 1]).contents.bytes_contents.extend([b"u1", b"", b"u4"])
    request.inputs.add(name="k", datatype="INT32", shape=[1]).contents.int_contents.append(7)
    request.inputs.add(name="timestamp", datatype="INT64", shape=[3, 1]).contents.int64_contents.extend([0, 0, 0])
    rules = {"max_per_category": 1, "max_per_brand": 3}
    request.inputs.add(name="rules", datatype="BYTES", shape=[1]).contents.bytes_contents.append(json.dumps(rules).encode())
    found = InferResult(rpc(channel, "ModelInfer", request, service_pb2.ModelInferResponse)).as_numpy("items")
    for row, user in zip(found, ("u1", "", "u4"), strict=True):
        assert [text.decode() for text in row if text] == expected(ranked[user], items, rules, 7)


def test_what_completes_a_cart_keeps_the_rules(channel: grpc.Channel, items: Any) -> None:
    request = infer("cart", cart_items=["1001", "1002"])
    rules = {"categories": ["books"]}
    request.inputs.add(name="rules", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(json.dumps(rules)).to_bytes(4, "little") + json.dumps(rules).encode())
    answer = InferResult(rpc(channel, "ModelInfer", request, service_pb2.ModelInferResponse))
    found = [text.decode() for text in answer.as_numpy("items").ravel() if text]
    assert found
    assert {items[item]["category"] for item in found} == {"books"}
    free = InferResult(rpc(channel, "ModelInfer", infer("cart", cart_items=["1001", "1002"]), service_pb2.ModelInferResponse))
    np.testing.assert_array_equal(answer.as_numpy("line_probability"), free.as_numpy("line_probability"))


def test_the_metadata_of_ruled_ensembles_name_the_input(channel: grpc.Channel) -> None:
    asked = service_pb2.ModelMetadataRequest(name="recommend")
    answer = rpc(channel, "ModelMetadata", asked, service_pb2.ModelMetadataResponse)
    assert ("rules", "BYTES", [1]) in [(each.name, each.datatype, list(each.shape)) for each in answer.inputs]
    config = rpc(channel, "ModelConfig", service_pb2.ModelConfigRequest(name="recommend"), service_pb2.ModelConfigResponse).config
    assert next(each for each in config.input if each.name == "rules").optional
    assert config.platform == "ensemble"


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"where": "pric < 20"}, "where names the column 'pric', which items do not have. Did you mean 'price'?"),
        ({"where": "price <"}, "rules.where: where is 'price <', which is not an expression"),
        ({"min_price": -1}, "rules.min_price: Input should be greater than or equal to 0."),
        ({"variety": 1.5}, "rules.variety: Input should be less than or equal to 1."),
        (
            {"pinned": [{"item_id": "9999", "position": 1}]},
            "rules.pinned names the item '9999', which the catalogue does not have.",
        ),
        (
            {"pinned": [{"item_id": "1001", "position": 0}]},
            "rules.pinned[0].position: Input should be greater than or equal to 1.",
        ),
        (
            {"pinned": [{"item_id": "1001", "position": 1}, {"item_id": "1002", "position": 1}]},
            "rules.pinned: the position 1 stands there twice; give it once.",
        ),
        (
            {"promoted": [{"where": "colour == 1", "share": 0.5}]},
            "promoted.where names the column 'colour', which items do not have.",
        ),
        ({"promoted": [{"where": "price < 1", "share": 0}]}, "rules.promoted[0].share: Input should be greater than 0."),
    ],
)
def test_a_rule_that_is_none_is_refused_in_a_sentence(
    channel: grpc.Channel, http: httpx.Client, rules: dict[str, Any], sentence: str
) -> None:
    code, details = refusal(lambda: rpc(channel, "ModelInfer", _with_rules(json.dumps(rules))))
    assert code == "INVALID_ARGUMENT"
    assert details.startswith(sentence)
    answer = http.post("/v1/recommend", json={"rules": rules})
    assert answer.status_code == 422
    assert "\n" not in answer.json()["error"]
    assert answer.json()["error"].startswith(sentence.rstrip("."))


def _with_rules(text: str) -> Any:
    request = infer("recommend", user_id=["u1"])
    request.inputs.add(name="rules", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(text.encode()).to_bytes(4, "little") + text.encode())
    return request


def test_tensors_that_are_no_rules_are_refused(channel: grpc.Channel) -> None:
    for text, said in (
        ("[]", "rules: Input should be an object"),
        ("{", "rules: Invalid JSON"),
        ('{"wher": ""}', "rules.wher: Extra inputs"),
    ):
        assert said in refusal(lambda text=text: rpc(channel, "ModelInfer", _with_rules(text)))[1]  # type: ignore[misc]
    own = infer("recommend", user_id=["u1"])
    own.inputs.add(name="barred", datatype="INT32", shape=[1, 1])
    own.raw_input_contents.append(np.int32(1).tobytes())
    assert "'barred' is the gateway's own" in refusal(lambda: rpc(channel, "ModelInfer", own))[1]


def test_what_is_out_of_stock_vanishes_within_a_second_and_comes_back(
    channel: grpc.Channel, http: httpx.Client, shop: Client, items: Any, ranked: Any
) -> None:
    first, second = (item for item, _ in ranked["u1"][:2])
    try:
        begun = time.monotonic()
        answer = http.put("/v1/items", json={"items": [{"item_id": int(first), "stock": 0}, {"item_id": "new", "price": 3}]})
        assert (answer.status_code, answer.json()["accepted"], answer.json()["unknown"]) == (200, 2, ["new"])
        assert str(shop.recommend("u1", timestamp="snapshot", k=1).items[0].item_id) == second
        assert first not in {str(item.item_id) for item in shop.cart([ranked["u1"][5][0]], user_id="u1", k=50).completions}
        assert time.monotonic() - begun < 1.0
        assert call(channel, "SetItems", items=[{"item_id": second, "available": False}]).accepted == 1
        found = shop.recommend("u1", timestamp="snapshot", k=50)
        assert {first, second}.isdisjoint(str(item.item_id) for item in found)
        assert re.search(r"4\d (of 50 )?items pass the rules", found.fewer)
        call(channel, "SetItems", items=[{"item_id": second, "price": 12.25}])
        only = shop.recommend("u1", timestamp="snapshot", k=3, rules=Rules(where="price == 12.25", in_stock=False))
        assert len(only) == 0, "a request tightens the shop's rules, it does not loosen them"
    finally:
        call(channel, "SetItems", items=[{"item_id": item, "available": True, "stock": 5} for item in (first, second)])
    only = shop.recommend("u1", timestamp="snapshot", k=3, rules=Rules(where="price == 12.25"))
    assert [str(item.item_id) for item in only] == [second]
    call(channel, "SetItems", items=[{"item_id": second, "price": items[second]["price"] or 12.25}])


def test_what_is_in_the_cart_is_never_answered(channel: grpc.Channel, http: httpx.Client, run: Path) -> None:
    user = "u13"
    before = call(channel, "Recommend", user_id=user, k=1).items[0].item_id
    event = {"user_id": user, "item_id": before, "event_type": "cart"}
    http.post("/v1/track", json={"events": [event]})
    assert before not in {item.item_id for item in call(channel, "Recommend", user_id=user, k=50).items}


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({"item_id": "1001"}, "items[0] changes nothing; give price, stock or available."),
        ({"stock": 3}, "items[0].item_id is empty; give the id as the shop's event log writes it."),
        ({"item_id": "1001", "price": -1.0}, "items[0].price is -1; expected a number of at least 0."),
        ({"item_id": "1001", "stock": math.inf}, "items[0].stock is inf; expected a number of at least 0."),
    ],
)
def test_a_state_that_is_none_is_refused(channel: grpc.Channel, item: dict[str, Any], sentence: str) -> None:
    assert refusal(lambda: call(channel, "SetItems", items=[item])) == ("INVALID_ARGUMENT", sentence)


def test_another_process_that_sets_an_item_counts_too(gateway: Gateway, shop: Client, ranked: Any) -> None:
    from serving.store.item_state import ItemState
    from serving.store.sqlite_store import SqliteStore
    from serving.store.store import Kept

    first = ranked["u2"][0][0]
    with SqliteStore(Path(gateway.run) / "live" / "events.db", Kept()) as store:
        store.set_items([ItemState(first, stock=0.0)])
        begun = time.monotonic()
        until(lambda: str(shop.recommend("u2", timestamp="snapshot", k=1).items[0].item_id) != first)
        assert time.monotonic() - begun < 2.0
        store.set_items([ItemState(first, stock=1.0)])
        until(lambda: str(shop.recommend("u2", timestamp="snapshot", k=1).items[0].item_id) == first)


def test_diversity_is_maximal_marginal_relevance(channel: grpc.Channel, items: Any, ranked: Any, run: Path) -> None:
    vectors = np.load(run / "models" / "two_tower" / "item_vectors.npy").astype(np.float64)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float64)
    place = {identity: number for number, identity in enumerate(items)}
    scores = dict(ranked["u1"])
    low, high = min(scores.values()), max(scores.values())
    for variety in (0.3, 0.7, 1.0):
        chosen: list[str] = []
        for _ in range(8):
            values = {
                identity: (1 - variety) * (score - low) / (high - low)
                - variety * max((float(vectors[place[identity]] @ vectors[place[one]]) for one in chosen), default=0.0)
                for identity, score in scores.items()
                if identity not in chosen
            }
            chosen.append(max(values, key=lambda identity: values[identity]))
        answer = call(channel, "Recommend", user_id="u1", timestamp=0, k=8, rules={"variety": variety})
        assert [item.item_id for item in answer.items] == chosen


def explained(channel: grpc.Channel, item: str, **asked: Any) -> Any:
    return call(channel, "Explain", item_id=item, user_id="u1", timestamp=0, k=5, **asked)


def test_what_becomes_of_an_item_is_explained_with_the_least_change(channel: grpc.Channel, items: Any, ranked: Any) -> None:
    order = [item for item, _ in ranked["u1"]]
    first = explained(channel, order[1])
    assert (first.outcome, first.rank, first.change) == ("answered", 2, "")
    assert explained(channel, "9999").outcome == "unknown_item"
    assert explained(channel, order[0], exclude=[order[0]]).outcome == "excluded"
    assert explained(channel, order[0], rules={"cart_items": [order[0]]}).outcome == "cart"
    out = next(item for item in items if item not in order)
    assert explained(channel, out).outcome in {"left_out", "cart"}
    dear = next(item for item in order if (items[item]["price"] or 0) > 40)
    ruled = explained(channel, dear, rules={"where": 'price < 40 and brand != "none"', "max_price": 30.0})
    price = f"{items[dear]['price']:g}"
    assert (ruled.outcome, list(ruled.violated)) == ("rule", ["the filter `price < 40`", f"max_price 30: its price is {price}"])
    assert "\n" not in ruled.why


@settings(deadline=None, max_examples=15)
@given(place=st.integers(5, 40))
def test_the_rank_that_is_explained_is_the_k_that_brings_an_item_in(channel: grpc.Channel, ranked: Any, place: int) -> None:
    order = ranked["u1"]
    if place >= len(order):
        return
    found = explained(channel, order[place][0])
    assert (found.outcome, found.rank) == ("rank", place + 1)
    assert found.change.startswith(f"Ask for k = {place + 1}. Or its score of ")
    assert found.score == pytest.approx(order[place][1], abs=1e-4)
    assert found.needed_score == pytest.approx(order[4][1], abs=1e-4)
    for k, there in ((place + 1, True), (place, False)):
        answer = call(channel, "Recommend", user_id="u1", timestamp=0, k=k)
        assert (order[place][0] in {item.item_id for item in answer.items}) == there


def test_a_cap_that_drops_an_item_is_named_and_raising_it_brings_it_in(
    channel: grpc.Channel, http: httpx.Client, items: Any, ranked: Any
) -> None:
    order = [item for item, _ in ranked["u1"]]
    groups = Counter[str]()
    for item in order:
        groups[items[item]["category"]] += 1
        if items[item]["category"] and groups[items[item]["category"]] == 2:
            break
    found = explained(channel, item, rules={"max_per_category": 1})
    assert (found.outcome, found.change) == ("arrangement", "Set max_per_category to 2 or more.")
    body = {"item_id": int(item), "user_id": "u1", "timestamp": "snapshot", "k": 50, "rules": {"max_per_category": 2}}
    assert http.post("/v1/explain", json=body).json()["outcome"] == "answered"
    assert http.post("/v1/explain", json={}).status_code == 422


def test_the_command_line_asks_and_explains_under_rules(gateway: Gateway, items: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cartwheel.cli.main import app

    file = tmp_path / "rules.json"
    file.write_text('{"max_per_category": 1}')
    at = ["--run", str(gateway.run), "--at", "snapshot"]
    ask = ["recommend", *at, "--user", "u4", "--where", "price < 40", "--rules", str(file), "--json"]
    found = json.loads(CliRunner().invoke(app, ask, catch_exceptions=False).output)
    chosen = [items[str(item["item_id"])] for item in found["items"]]
    assert chosen
    assert all(item["price"] < 40 for item in chosen)
    assert max(Counter(item["category"] for item in chosen if item["category"]).values()) == 1
    dear = next(item for item in items if (items[item]["price"] or 0) > 60)
    told = CliRunner().invoke(app, ["explain", "u4", dear, *at, "--where", "price < 40"], catch_exceptions=False).output
    assert told.startswith("rule: The item violates the filter `price < 40`.")
