"""Lists that are ready made: each what its name says, under rules, and a page of them without repeats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from running_gateway import Gateway, refusal

from serving.client.client import Client
from serving.contract.fallback import FILE, FallbackTables
from serving.contract.history import History
from serving.contract.shop import MESSAGES
from serving.export.history import purchases
from serving.gateway.placements import PLACEMENTS


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}", timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def items(run: Path) -> dict[str, dict[str, Any]]:
    table = pq.read_table(run / "snapshot" / "items.parquet")
    return {row["item_id"]: row for row in table.to_pylist()}


def asked(http: httpx.Client, placement: str, **body: Any) -> dict[str, Any]:
    answer = http.post(f"/v1/placements/{placement}", json={"timestamp": "snapshot", "k": 6, **body})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    assert content["placement"] == placement
    return content


def ids(answer: dict[str, Any]) -> list[int]:
    return [item["item_id"] for item in answer["items"]]


def test_for_you_similar_and_what_completes_a_cart_are_what_the_ensembles_answer(http: httpx.Client, gateway: Gateway) -> None:
    with Client(gateway.endpoint.grpc) as shop:
        user = "u14"
        assert ids(asked(http, "for_you", user_id=user)) == list(shop.recommend(user, k=6, timestamp="snapshot").item_ids)
        near = asked(http, "similar", item_id=1003)
        assert ids(near) == [item.item_id for item in shop.similar_items(1003, k=6)]
        assert near["items"][0]["why"] == "It is like 1003."
        cart = asked(http, "completes_the_cart", cart_items=[1001, 1002])
        assert ids(cart) == [item.item_id for item in shop.cart([1001, 1002], k=6, timestamp="snapshot").completions]


def test_similar_items_keep_the_rules(http: httpx.Client, items: Any) -> None:
    found = asked(http, "similar", item_id=1003, rules={"where": "price < 40", "max_per_category": 2})
    assert found["items"]
    assert all(items[str(item)]["item_price"] < 40 for item in ids(found))
    free = ids(asked(http, "similar", item_id=1003, k=50))
    assert free[0] not in ids(asked(http, "similar", item_id=1003, exclude=[free[0]]))
    cheap = [item for item in free if (items[str(item)]["item_price"] or 99) < 40]
    assert ids(asked(http, "similar", item_id=1003, rules={"where": "price < 40"})) == cheap[:6]


def test_what_is_bought_together_comes_from_the_tables_of_neighbours(http: httpx.Client, run: Path) -> None:
    tables = FallbackTables.read(run / "repository" / FILE)
    place = next(row for row in range(50) if (tables.neighbours[row] >= 0).sum() >= 3)
    wanted = [int(tables.ids[other]) for other in tables.neighbours[place] if other >= 0 and other != place]
    found = asked(http, "bought_together", item_id=int(tables.ids[place]))
    assert ids(found) == wanted[:6]
    assert found["items"][0]["why"] == f"It goes with {int(tables.ids[place])}."
    assert found["fewer"] == (
        "" if len(wanted) >= 6 else f"{len(wanted)} of 6 items are answered: no further item may stand here."
    )


def test_trending_items_are_asked_for_beyond_their_share(http: httpx.Client, items: Any) -> None:
    recent, every = (np.array([item[name] for item in items.values()]) for name in ("item_recent_events", "item_events"))
    rise = recent - every * recent.sum() / every.sum()
    order = [int(list(items)[place]) for place in np.argsort(-rise, kind="stable")]
    assert ids(asked(http, "trending")) == order[:6]


def test_what_was_viewed_and_bought_is_the_latest_of_the_store_and_then_the_export(http: httpx.Client, run: Path) -> None:
    users = pq.read_table(run / "snapshot" / "users.parquet").to_pylist()
    user = next(row for row in users[15:] if len(row["recent_items"]) >= 3)
    before = [int(item) for item in reversed(user["recent_items"])]
    found = asked(http, "recently_viewed", user_id=user["user_id"], k=3)
    assert ids(found) == before[:3], "what is left out of recommendations was looked at nevertheless"
    new = [item for item in (1040, 1041, 1042) if item not in before]
    events = [{"user_id": user["user_id"], "item_id": item, "event_type": "purchase"} for item in new]
    assert http.post("/v1/track", json={"events": events}).json()["accepted"] == len(new)
    assert ids(asked(http, "recently_viewed", user_id=user["user_id"], k=3, recent_items=[1007])) == [1007, *new[::-1]][:3]
    assert ids(asked(http, "buy_again", user_id=user["user_id"])) == new[::-1]
    assert ids(asked(http, "buy_again", user_id="nobody")) == []


def test_on_sale_is_what_costs_less_than_at_the_export(http: httpx.Client, items: Any) -> None:
    assert ids(asked(http, "on_sale", user_id="u14")) == []
    priced = [item for item in items if items[item]["item_price"]][:4]
    try:
        cut = [{"item_id": int(item), "price": items[item]["item_price"] * 0.5} for item in priced]
        http.put("/v1/items", json={"items": cut})
        found = asked(http, "on_sale")
        assert set(ids(found)) == {int(item) for item in priced}
        assert {item["why"] for item in found["items"]} == {"On sale."}
    finally:
        http.put("/v1/items", json={"items": [{"item_id": int(item), "price": items[item]["item_price"]} for item in priced]})


def test_a_page_holds_no_item_twice(http: httpx.Client, channel: grpc.Channel) -> None:
    sections = [{"placement": name, "item_id": 1003, "k": 6} for name in (*PLACEMENTS, "for_you")]
    body = {"sections": sections, "user_id": "u14", "cart_items": [1001], "timestamp": "snapshot", "exclude": [1005]}
    page = http.post("/v1/page", json=body).json()
    assert [section["placement"] for section in page["sections"]] == [*PLACEMENTS, "for_you"]
    shown = [item["item_id"] for section in page["sections"] for item in section["items"]]
    assert len(shown) == len(set(shown)) > 20
    assert {1001, 1005}.isdisjoint(shown)
    assert page["rung"] == "ranked"
    call = channel.unary_unary("/cartwheel.v1.Shop/Page", response_deserializer=MESSAGES["PageResponse"].FromString)
    wishes = [{**section, "item_id": "1003"} for section in sections]
    request = MESSAGES["PageRequest"](sections=wishes, user_id="u14", cart_items=["1001"], exclude=["1005"], timestamp=0)
    typed = call(request.SerializeToString(), timeout=20)
    assert [int(item.item_id) for section in typed.sections for item in section.items] == shown


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"placement": "for_yu"}, "sections[0].placement is 'for_yu'. Did you mean 'for_you'? There are for_you, similar"),
        ({"placement": "similar"}, "sections[0].item_id is empty; similar is about an item."),
        ({"placement": "completes_the_cart"}, "cart_items is empty; completes_the_cart is about a cart."),
        ({"placement": "for_you", "k": 101}, "sections[0].k is 101; this server answers 1 to 100 items."),
    ],
)
def test_a_list_that_there_is_not_is_refused(channel: grpc.Channel, section: dict[str, Any], sentence: str) -> None:
    call = channel.unary_unary("/cartwheel.v1.Shop/Page")
    code, details = refusal(lambda: call(MESSAGES["PageRequest"](sections=[section]).SerializeToString(), timeout=20))
    assert code == "INVALID_ARGUMENT"
    assert details.startswith(sentence)


def test_purchases_are_ordered_by_how_often_and_then_how_lately() -> None:
    rows = [
        ("a", "x", "purchase", 1),
        ("a", "y", "purchase", 2),
        ("a", "x", "purchase", 3),
        ("a", "z", "view", 4),
        ("b", "z", "purchase", 5),
    ]
    rows += [("a", "z", "purchase", 6), ("a", "gone", "purchase", 7), ("", "x", "purchase", 8)]
    names = ("user_id", "item_id", "event_type", "timestamp")
    table = pa.table({name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})
    bought = purchases(table, ["b", "a", "c"], ["x", "y", "z"])
    assert bought == [[2], [0, 2, 1], []]
    history = History.made(["b", "a", "c"], [[], [1], []], bought)
    row = history.row("a")
    assert row is not None
    assert (history.bought.of(row), history.viewed.of(row)) == ([0, 2, 1], [1])
    assert history.row("nobody") is None


def test_the_command_line_shows_a_page(gateway: Gateway) -> None:
    from typer.testing import CliRunner

    from cartwheel.cli.main import app

    asked = ["page", "trending", "similar", "--item", "1003", "--run", str(gateway.run), "-k", "3", "--where", "price < 40"]
    told = CliRunner().invoke(app, asked, catch_exceptions=False).output
    assert "trending" in told
    assert "It is like 1003." in told
