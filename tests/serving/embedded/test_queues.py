"""Queues that are full: what they cannot take is refused at once, with a status that says to come again."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from cartwheel.core.errors import ServerError
from serving.client.client import Client
from serving.contract.queues import with_queue
from serving.server.server import EmbeddedServer
from serving.settings import ServeSettings

SETTINGS = ServeSettings(queue_size=3, queue_seconds=2.5)


def parsed(config: str) -> Any:
    return text_format.Parse(config, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("batching", ["", "dynamic_batching { max_queue_delay_microseconds: 7 }\n"])
def test_every_step_gets_the_bounds(batching: str) -> None:
    policy = parsed(with_queue(f'name: "x"\nbackend: "python"\n{batching}', SETTINGS)).dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (3, 2_500_000)
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT


def test_nothing_is_refused_while_a_first_step_takes_it_in() -> None:
    """Triton 2.51 ends with signal 11 where a client gives such a request up at that moment."""
    first = 'backend: "python"\nparameters { key: "first" value: { string_value: "true" } }\n'
    policy = parsed(with_queue(first, SETTINGS)).dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (0, 2_500_000)


def test_the_rest_of_a_configuration_stays() -> None:
    batched = parsed(with_queue('backend: "python"\ndynamic_batching { max_queue_delay_microseconds: 7 }\n', SETTINGS))
    assert batched.dynamic_batching.max_queue_delay_microseconds == 7
    ensemble = 'name: "cart"\nplatform: "ensemble"\n'
    assert with_queue(ensemble, SETTINGS) == ensemble


def test_what_a_queue_cannot_take_is_refused_at_once_and_told_as_such(write_repository: Any, tmp_path: Path) -> None:
    bounds = ServeSettings(queue_size=2, queue_seconds=30)
    with (
        EmbeddedServer(write_repository("recommend"), bounds) as server,
        Client(server.grpc_address, timeout_seconds=30, retries=0) as shop,
        ThreadPoolExecutor(8) as aside,
    ):
        shop.recommend()
        under_way = aside.submit(shop.recommend, f"sleep 1.5 {tmp_path / 'begun'}")
        until((tmp_path / "begun").exists)
        begun = time.monotonic()
        waiting = [aside.submit(shop.recommend, k=1) for _ in range(6)]
        refused = [error for future in waiting if (error := future.exception()) is not None]
        assert len(refused) == 4, "two wait"
        assert {type(error) for error in refused} == {ServerError}
        assert "is at its limit and refused the request" in str(refused[0])
        assert under_way.done() or time.monotonic() - begun < 1.5
        assert under_way.result().items


def test_who_waits_too_long_is_refused(write_repository: Any, tmp_path: Path) -> None:
    with (
        EmbeddedServer(write_repository("recommend"), ServeSettings(queue_seconds=0.2)) as server,
        Client(server.grpc_address, timeout_seconds=30, retries=0) as shop,
        ThreadPoolExecutor(2) as aside,
    ):
        under_way = aside.submit(shop.recommend, f"sleep 1 {tmp_path / 'begun'}")
        until((tmp_path / "begun").exists)
        raw = triton.InferenceServerClient(server.grpc_address)
        with pytest.raises(triton.InferenceServerException, match="Request timeout expired") as refused:
            raw.infer("recommend", [])
        assert refused.value.status() == "StatusCode.UNAVAILABLE"
        assert under_way.result().items


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
