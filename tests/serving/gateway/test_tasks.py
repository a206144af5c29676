"""Declared tasks through the gateway, of a run that has nothing else: the typed service and JSON answer as Cartwheel's client does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from running_gateway import Gateway, refusal
from synthetic_tasks import write_tasks

from serving.client.client import Client
from serving.contract.shop import MESSAGES
from serving.export.repository import write_repository
from serving.settings import ExportSettings

GIVEN = {
    "user_events": 8.0,
    "spent": None,
    "favourite": "garden",
    "weekday": 2,
    "liked": ["books", "books"],
    "taste": [1.0, -1.0],
}
FIELDS = ("probability", "quantity", "score", "decision", "threshold", "base_rate", "calibrated", "known")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("tasks")
    write_tasks(folder / "run")
    write_repository(folder / "run", ExportSettings())
    running = Gateway(Path(folder / "run"), folder, queue_seconds=60.0)
    try:
        yield running
    finally:
        running.end()


def typed(channel: grpc.Channel, **fields: Any) -> Any:
    request = MESSAGES["PredictRequest"](task="churn", **fields)
    ask = channel.unary_unary("/cartwheel.v1.Shop/Predict", response_deserializer=MESSAGES["PredictResponse"].FromString)
    return ask(request.SerializeToString(), timeout=20)


def test_both_doors_answer_as_the_client_does(tasks: Gateway) -> None:
    value, texts, numbers = MESSAGES["Value"], MESSAGES["Texts"], MESSAGES["Numbers"]
    columns = {
        "user_events": value(number=8.0),
        "spent": value(),
        "favourite": value(text="garden"),
        "weekday": value(whole=2),
        "liked": value(texts=texts(values=["books", "books"])),
        "taste": value(numbers=numbers(values=[1.0, -1.0])),
    }
    with Client(tasks.endpoint.grpc) as client, grpc.insecure_channel(tasks.endpoint.grpc) as channel:
        expected = client.predict("churn", "u3", GIVEN)
        answer = typed(channel, entity="u3", columns=columns)
    body = httpx.post(f"http://{tasks.endpoint.http}/v1/predict/churn", json={"entity": "u3", "columns": GIVEN}).json()
    for name in FIELDS:
        wanted = getattr(expected, name)
        assert body[name] == pytest.approx(wanted)
        if wanted is None:
            assert not answer.HasField(name)
        else:
            assert getattr(answer, name) == pytest.approx(wanted)
    reasons = [(reason.column, reason.title) for reason in expected.reasons]
    assert [(reason.column, reason.title) for reason in answer.reasons] == reasons
    assert [(reason["column"], reason["title"]) for reason in body["reasons"]] == reasons
    assert (body["task"], body["entity"], len(body["version"])) == ("churn", "u3", 12)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"nothing": 1}, "'nothing'"),
        ({"spent": "much"}, "spent is 'much'; expected a number."),
        ({"weekday": 1.5}, "weekday is 1.5; expected a whole number."),
        ({"taste": [1.0]}, "taste is 1 numbers; expected 2 numbers."),
        ({"spent": {}}, "columns.spent: Input should be a valid string"),
    ],
)
def test_a_wrong_column_is_named(tasks: Gateway, columns: Any, sentence: str) -> None:
    answer = httpx.post(f"http://{tasks.endpoint.http}/v1/predict/churn", json={"entity": "u3", "columns": columns})
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


def test_what_the_run_has_not_is_not_there(tasks: Gateway) -> None:
    base = f"http://{tasks.endpoint.http}"
    assert httpx.post(f"{base}/v1/predict/nothing", json={}).status_code == 404
    assert httpx.post(f"{base}/v1/recommend", json={}).status_code == 404
    paths = set(httpx.get(f"{base}/openapi.json").json()["paths"])
    assert paths - {"/v1/track", "/v1/links"} == {
        "/v1/predict/{task}",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    with grpc.insecure_channel(tasks.endpoint.grpc) as channel:
        raw = channel.unary_unary("/cartwheel.v1.Shop/Recommend")
        assert refusal(lambda: raw(b"", timeout=20)) == ("NOT_FOUND", "This server does not answer 'recommend'.")
