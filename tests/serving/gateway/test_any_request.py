"""What no honest client sends, through the gateway: refused as Triton refuses it or sooner, and the next request answered."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_gateway import Gateway, infer, rpc

from benchmarks.fault_cases.malformed import STATUSES, Malformed, malformed, random_request

KINDS = list(malformed("u1", "1003", 100))


@pytest.fixture(scope="module")
def wide(gateway: Gateway) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(gateway.endpoint.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


def status(channel: grpc.Channel, request: Malformed) -> tuple[str, str]:
    try:
        rpc(channel, "ModelInfer", request.payload)
    except grpc.RpcError as error:
        told: Any = error
        return told.code().name, told.details()
    return "OK", ""


@pytest.mark.parametrize("request_", KINDS, ids=[kind.name for kind in KINDS])
def test_what_is_wrong_with_a_request_is_its_own_affair(wide: grpc.Channel, request_: Malformed) -> None:
    found, words = status(wide, request_)
    assert found in request_.statuses, words
    assert "Traceback" not in words


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_request_at_random_is_answered(wide: grpc.Channel, seed: int) -> None:
    found, words = status(wide, random_request(np.random.default_rng(seed), "u1", "1003"))
    assert found in STATUSES, words


def test_honest_requests_are_answered_after_all_that(wide: grpc.Channel) -> None:
    assert rpc(wide, "ModelInfer", infer("recommend", user_id=["u1"]))
