"""A gateway that explores: what is shown is logged with its propensity, and the log is enough for a preview."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from running_gateway import Gateway, until
from typer.testing import CliRunner

from cartwheel.cli.main import app
from cartwheel.core.errors import DataError
from evaluation.off_policy.exposures import read_exposures
from serving.client.client import Client
from serving.client.requests import RecommendRequest
from serving.experiments.asked_again import Question, lists_of
from serving.rules.rules import Rules, ShopRules

SHARE, POOL, K, REQUESTS = 0.5, 8, 4, 80  # share and pool as conftest sets them


@pytest.fixture(scope="module")
def answers(exploring: Gateway) -> list[dict[str, Any]]:
    """Asked through two doors, and a first item clicked in each third answer."""
    found = []
    with httpx.Client(base_url=f"http://{exploring.endpoint.http}", timeout=30) as http:
        for number in range(REQUESTS):
            body = {"user_id": f"u{number % 20}", "k": K, "timestamp": None}
            answer = http.post("/v1/recommend", json=body, headers={"x-request-id": f"r{number}"})
            assert answer.status_code == 200, answer.text
            found.append(answer.json())
            if number % 3 == 0:
                event = {"user_id": body["user_id"], "item_id": str(answer.json()["items"][0]["item_id"]), "event_type": "view"}
                assert http.post("/v1/track", json={"events": [event]}).json()["accepted"] == 1
    return found


@pytest.fixture(scope="module")
def log(exploring: Gateway, answers: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    folder = exploring.run / "live" / "exposures"

    def lines() -> dict[str, dict[str, Any]]:
        told = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
        return {line["request_id"]: line for line in told}

    until(lambda: f"r{REQUESTS - 1}" in lines())
    return lines()


def test_what_was_shown_is_logged_with_its_propensity(answers: list[dict[str, Any]], log: dict[str, dict[str, Any]]) -> None:
    explored = 0
    for number, answer in enumerate(answers):
        line = log[f"r{number}"]
        assert line["items"] == [str(item["item_id"]) for item in answer["items"]]
        assert len(line["items"]) == len(set(line["items"])) == min(K, line["pool"])
        assert line["version"] == answer["version"]
        assert line["shopper"] == line["user_id"] == f"u{number % 20}"
        kept = np.array(line["items"]) == np.array(line["model"])
        assert line["propensity"] == pytest.approx(np.where(kept, 1 - SHARE, 0) + SHARE / line["pool"], abs=1e-6)
        assert kept.all() or line["explored"]
        explored += line["explored"]
    assert max(log[f"r{number}"]["pool"] for number in range(REQUESTS)) == POOL, (
        "of a shopper who has seen much fewer may be left"
    )
    assert 0.3 * REQUESTS < explored < 0.7 * REQUESTS


def test_a_request_asked_again_is_shown_the_same_and_many_at_once_are_not_explored(exploring: Gateway) -> None:
    with httpx.Client(base_url=f"http://{exploring.endpoint.http}", timeout=30) as http:
        asked = [
            http.post("/v1/recommend", json={"user_id": "u150", "k": K}, headers={"x-request-id": "same"}).json()["items"]
            for _ in range(2)
        ]
    assert asked[0] == asked[1]
    with Client(exploring.endpoint.grpc) as client:
        several = client.recommend_many([RecommendRequest(f"u{number}") for number in range(100, 103)], k=K)
        for each in several:
            scores = [item.score for item in each.items]
            assert scores == sorted(scores, reverse=True)


def asked_last(exploring: Gateway, **body: Any) -> list[dict[str, Any]]:
    """Ask once more, and return all lines of the log as soon as that one, and so each before it, is written."""
    with httpx.Client(base_url=f"http://{exploring.endpoint.http}", timeout=30) as http:
        last = http.post("/v1/recommend", json={"user_id": "u1", "k": K, **body}).json()["request_id"]

    def lines() -> list[dict[str, Any]]:
        paths = sorted((exploring.run / "live" / "exposures").glob("*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text().split("\n")[:-1]]

    until(lambda: any(line["request_id"] == last for line in lines()), 60)
    return lines()


def test_the_log_is_enough_for_a_preview(exploring: Gateway, log: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    run = str(exploring.run)
    lines = asked_last(exploring)
    refused = CliRunner().invoke(app, ["preview", run, run, "--json"])
    assert isinstance(refused.exception, DataError)
    told = json.loads(refused.stdout)
    assert told["verdict"] == "refused"
    assert told["A"]["IPS"] == told["B"]["IPS"], "the same model asked again gives the same lists"
    assert told["B less A"]["SNIPS"][0] == 0
    assert told["rows"] == sum(len(line["items"]) for line in lines if line["user_id"] and line["rung"] == "ranked")
    decided = CliRunner().invoke(app, ["preview", run, run, "--min-effective", "10"])
    assert decided.exit_code == 0, decided.output
    assert "level" in decided.output
    assert CliRunner().invoke(app, ["land", run, "--out", str(tmp_path)]).exit_code == 0
    landed = CliRunner().invoke(app, ["preview", run, run, "--min-effective", "10", "--json", "--events", str(tmp_path)])
    assert json.loads(landed.stdout)["A"] == told["A"], "events that are landed count as those that are not"


def test_the_other_model_is_asked_under_the_rules_of_each_request(exploring: Gateway, log: dict[str, dict[str, Any]]) -> None:
    allowed = log["r1"]["model"][:3]
    assert len(allowed) == 3
    line = asked_last(exploring, user_id="a-stranger", rules={"allow": allowed, "max_per_category": 2})[-1]
    assert set(line["model"]) <= set(allowed)
    assert json.loads(line["rules"]) == {"allow": allowed, "max_per_category": 2}
    question = Question(line["request"], line["rules"], tuple(line["cart"]))
    repository = exploring.run / "repository"
    under = next(lists_of(repository, [question], ShopRules()))
    assert [item for item in under if item][: len(line["model"])] == line["model"]
    without = next(lists_of(repository, [Question(line["request"])], ShopRules()))
    assert not set(without) <= {*allowed, ""}
    shop = next(lists_of(repository, [question], ShopRules(where=f"item_id != '{line['model'][0]}'")))
    assert line["model"][0] not in shop, "the rules of the shop count, too"
    in_cart = next(lists_of(repository, [question._replace(cart=(line["model"][0],))], ShopRules()))
    assert line["model"][0] not in in_cart
    with pytest.raises(DataError, match="exposure 0 cannot be read"):
        next(lists_of(repository, [Question("nothing!")], ShopRules()))


def test_an_experiment_with_an_arm_that_nobody_sees_is_not_as_meant(exploring: Gateway, answers: list[dict[str, Any]]) -> None:
    version = answers[0]["version"]
    arguments = ["experiment", str(exploring.run), "--share", f"{version}=0.5", "--share", "absent=0.5"]
    early = CliRunner().invoke(app, [*arguments, "--json"])
    assert isinstance(early.exception, Exception)
    assert "No shopper is counted" in str(early.exception), "no window is closed yet"
    bad = CliRunner().invoke(app, ["experiment", str(exploring.run), "--share", "x"])
    assert "Give it twice" in str(bad.exception)


def test_a_log_that_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There are no exposures in .*serve\.explore_share"):
        read_exposures(tmp_path)
    path = tmp_path / "2026-01-01.jsonl"
    good = {
        "at_us": 1,
        "request_id": "r",
        "version": "v",
        "user_id": "u",
        "items": ["i"],
        "propensity": [1.0],
        "model": ["i"],
        "rung": "ranked",
    }
    path.write_text(json.dumps(good) + "\n" + json.dumps(good)[:40])
    assert len(read_exposures(tmp_path)) == 1, "a line that was cut off as the server was killed"
    path.write_text("nothing\n" + json.dumps(good) + "\n")
    with pytest.raises(DataError, match="line 1: it is not an exposure"):
        read_exposures(tmp_path)
    path.write_text(json.dumps({**good, "propensity": []}) + "\n")
    with pytest.raises(DataError, match="items and propensity differ in length"):
        read_exposures(tmp_path)


def test_fewer_items_are_those_that_the_caller_asked_for(exploring: Gateway, answers: list[dict[str, Any]]) -> None:
    with Client(exploring.endpoint.grpc) as shop:
        every = shop.recommend("nobody", k=50)
        rules = Rules(allow=tuple(map(str, every.item_ids[:3])))
        assert shop.recommend("nobody", k=2, rules=rules).fewer == ""
        assert shop.recommend("nobody", k=4, rules=rules).fewer.startswith("3 of 4 items are answered: only 3 of 50 items pass")
    with httpx.Client(base_url=f"http://{exploring.endpoint.http}", timeout=30) as http:
        items = [shop_item["item_id"] for shop_item in http.post("/v1/recommend", json={"k": 10}).json()["items"]]
        ranks = {http.post("/v1/explain", json={"item_id": items[9], "k": 10}).json()["rank"] for _ in range(8)}
    assert len(ranks) == 1, "an explanation explores nothing"
