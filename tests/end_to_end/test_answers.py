"""The served ensembles, asked over real gRPC as an app would ask them."""

import asyncio
import json
import time
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tritonclient.grpc as triton
from shop_runs import cartwheel

from cartwheel.core.errors import ServerError, UsageError
from serving.client.answers import RecommendedItem, ScoredItem, ShopId
from serving.client.async_client import AsyncClient
from serving.client.client import Client


@pytest.fixture(scope="module")
def items(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "snapshot" / "items.parquet")


@pytest.fixture(scope="module")
def users(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "snapshot" / "users.parquet")


def ids(answer: Iterable[RecommendedItem | ScoredItem]) -> list[ShopId]:
    return [item.item_id for item in answer]


def test_a_known_user_gets_k_distinct_items_best_first(server: str, users: pl.DataFrame, items: pl.DataFrame) -> None:
    with Client(server) as client:
        answer = client.recommend(users["user_id"][0], k=10)
    scores = [item.score for item in answer.items]
    assert len(set(ids(answer))) == 10
    assert scores == sorted(scores, reverse=True)
    assert set(ids(answer)) <= set(items["item_id"])
    assert not set(ids(answer)) & set(users["recent_items"][0]), "what was just seen is excluded"


def test_recent_items_move_an_unknown_user(server: str, items: pl.DataFrame) -> None:
    with Client(server) as client:
        plain = client.recommend("stranger", k=20)
        [one, other] = items["item_category"].unique().sort()[1:3]
        of_category = {c: items.filter(pl.col("item_category") == c)["item_id"].to_list() for c in (one, other)}
        answers = {c: client.recommend("stranger", recent_items=of_category[c][:3], k=20) for c in (one, other)}
    assert ids(answers[one]) != ids(answers[other])
    assert ids(answers[one]) != ids(plain)
    hits = {c: len(set(ids(answers[c])) & set(of_category[c])) for c in (one, other)}
    crossed = len(set(ids(answers[one])) & set(of_category[other]))
    assert hits[one] > crossed, "looking at a category brings more of it"


def test_an_anonymous_empty_request_is_answered(server: str) -> None:
    with Client(server) as client:
        assert len(client.recommend().items) == 10


def test_an_unknown_item_is_ignored_not_refused(server: str) -> None:
    with Client(server) as client:
        assert len(client.recommend(recent_items=["never sold"], k=5).items) == 5
        assert len(client.similar_items("never sold", k=5)) <= 5
        assert 0 <= client.cart(["never sold"]).lines[0].probability <= 1


def test_excluded_items_stay_away_even_99_000_of_them(server: str, users: pl.DataFrame, items: pl.DataFrame) -> None:
    user = users["user_id"][0]
    with Client(server) as client:
        first = ids(client.recommend(user, k=5))
        assert not set(first) & set(ids(client.recommend(user, exclude=first, k=20)))
        keep = items["item_id"].to_list()[-30:]
        exclude = [f"absent-{number}" for number in range(99_000)] + [i for i in items["item_id"].to_list() if i not in keep]
        started = time.perf_counter()
        answer = client.recommend("stranger", exclude=exclude, k=20)
        seconds = time.perf_counter() - started
    assert set(ids(answer)) <= set(keep)
    assert len(answer.items) == 20
    assert seconds < 10, "not a timing test: a list this long must not hang the server"


def test_when_everything_is_excluded_the_answer_is_empty(server: str, items: pl.DataFrame) -> None:
    with Client(server) as client:
        assert ids(client.recommend("stranger", exclude=items["item_id"].to_list())) == []


def test_a_cart_has_probabilities_and_completions(server: str, users: pl.DataFrame, items: pl.DataFrame) -> None:
    lines = items["item_id"].to_list()[:3]
    with Client(server) as client:
        answer = client.cart(lines, user_id=users["user_id"][3], k=4)
    assert [line.item_id for line in answer.lines] == lines
    assert all(0 <= line.probability <= 1 for line in answer.lines)
    assert max(line.probability for line in answer.lines) - 1e-6 <= answer.probability <= 1
    assert answer.probability <= min(1, sum(line.probability for line in answer.lines) * len(lines)) + 1e-6
    completions = ids(answer.completions)
    assert len(completions) == 4
    assert not set(completions) & set(lines)


def test_the_chance_of_a_cart_of_one_line_is_that_of_the_line(server: str, items: pl.DataFrame) -> None:
    with Client(server) as client:
        for item in items["item_id"].to_list()[:20]:
            answer = client.cart([item])
            assert answer.probability == pytest.approx(answer.lines[0].probability, abs=1e-6)


def test_similar_items_do_not_repeat_the_item(server: str, items: pl.DataFrame) -> None:
    item = items.sort("item_events", "item_id", descending=True)["item_id"][0]
    with Client(server) as client:
        answer = client.similar_items(item, k=10)
    assert item not in ids(answer)
    assert len(answer) == 10


def test_the_same_question_gets_the_same_answer_alone_and_in_a_crowd(server: str, users: pl.DataFrame) -> None:
    some = users["user_id"].to_list()[:40]
    moment = pl.Series(users["last_seen"]).max()
    with Client(server) as client:
        alone = [ids(client.recommend(user, k=10, timestamp=moment)) for user in some]

    async def crowd() -> list[list[ShopId]]:
        async with AsyncClient(server) as client:
            return [ids(a) for a in await asyncio.gather(*(client.recommend(user, k=10, timestamp=moment) for user in some))]

    assert asyncio.run(crowd()) == alone


@pytest.mark.parametrize("k", [0, -3, 41])
def test_a_wrong_k_is_refused_by_client_and_server_and_the_server_lives(server: str, k: int) -> None:
    with Client(server) as client:
        with pytest.raises(UsageError, match="k"):
            client.recommend("stranger", k=k)
        user, wrong = triton.InferInput("user_id", [1, 1], "BYTES"), triton.InferInput("k", [1], "INT32")
        user.set_data_from_numpy(np.array([[b""]], np.object_))
        wrong.set_data_from_numpy(np.array([k], np.int32))
        with pytest.raises(triton.InferenceServerException, match="k"):
            triton.InferenceServerClient(server).infer("recommend", [user, wrong])
        assert client.recommend("stranger").items


def test_a_wrong_tensor_shape_is_refused_in_a_sentence(server: str) -> None:
    tensor = triton.InferInput("user_id", [3], "BYTES")
    tensor.set_data_from_numpy(np.array([b"a", b"b", b"c"], dtype=np.object_))
    client = triton.InferenceServerClient(server)
    with pytest.raises(triton.InferenceServerException, match="shape"):
        client.infer("recommend", [tensor])
    assert client.is_server_ready()


def test_a_deadline_that_cannot_be_met_is_said_so(server: str) -> None:
    with Client(server, timeout_seconds=0.0001) as client, pytest.raises(ServerError):
        client.recommend("stranger")


def test_the_command_line_asks_too(server: str, run: Path, users: pl.DataFrame, items: pl.DataFrame) -> None:
    user, item = users["user_id"][0], items["item_id"][0]
    shown = cartwheel("recommend", "--run", run, "--user", user, "-k", "3")
    assert shown.returncode == 0, shown.stderr
    answer = json.loads(cartwheel("recommend", "--server", server, "--user", user, "-k", "3", "--json").stdout)
    assert len(answer["items"]) == 3
    assert all(entry["item_id"] in shown.stdout for entry in answer["items"])
    answer = json.loads(cartwheel("cart", item, "--server", server, "--json").stdout)
    assert answer["lines"][0]["item_id"] == item


def test_the_command_line_takes_ids_as_they_are(server: str, items: pl.DataFrame) -> None:
    odd = ["Apples, red", " padded ", "--recent", items["item_id"][0]]
    asked = cartwheel("cart", "--server", server, "--json", "--recent", "a,b", "--", *odd)
    assert asked.returncode == 0, asked.stderr
    assert [line["item_id"] for line in json.loads(asked.stdout)["lines"]] == odd
    first = _asked(server, "-k", "3")[0]["item_id"]
    left = _asked(server, "-k", "3", "--exclude", f"{first}, no such", "--exclude", "other")
    assert left[0]["item_id"] == first
    left = _asked(server, "-k", "3", "--exclude", "no such", "--exclude", str(first))
    assert first not in {item["item_id"] for item in left}


def test_the_command_line_mentions_a_state_of_long_ago(server: str) -> None:
    with Client(server) as client:
        as_of = client.metadata().as_of
    assert as_of is not None
    days = round((datetime.now(timezone.utc) - as_of) / timedelta(days=1))
    shown = cartwheel("recommend", "--server", server)
    assert f'"now" is {days:,} days after the end of the log ({as_of.date()})' in " ".join(shown.stderr.split())
    for at in ("snapshot", as_of.isoformat()):
        assert cartwheel("recommend", "--server", server, "--at", at).stderr == ""
    assert _asked(server, "--at", "snapshot") == _asked(server, "--at", as_of.isoformat())
    refused = cartwheel("cart", "x", "--server", server, "--at", "yesterday")
    assert (refused.returncode, "--at is 'yesterday'; expected 'now', 'snapshot' or an ISO 8601 instant" in refused.stderr) == (
        2,
        True,
    )


def _asked(server: str, *options: str) -> list[dict[str, object]]:
    asked = cartwheel("recommend", "--server", server, "--json", *options)
    assert asked.returncode == 0, asked.stderr
    items: list[dict[str, object]] = json.loads(asked.stdout)["items"]
    return items
