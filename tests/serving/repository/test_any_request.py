"""Any request, well-formed or not, is answered within its deadline by an answer or a status that fits, and the next one as ever."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from benchmarks.fault_cases.malformed import (
    OK,
    REFUSED,
    STATUSES,
    Given,
    Malformed,
    cut_off,
    malformed,
    message,
    random_request,
    strings,
    texts,
)
from serving.server.server import EmbeddedServer

METHOD = "/inference.GRPCInferenceService/ModelInfer"
DEADLINE_SECONDS = 30.0
"""Long enough for a machine that is busy with other tests; a hang is a hang all the same."""
HONEST = message("recommend", strings("user_id", b"u1"), Given("timestamp", "INT64", [1, 1], bytes(8))).SerializeToString()
KINDS = list(malformed("u1", "1003", 100))


class Asked:
    """One connection."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._call = channel.unary_unary(METHOD)
        self.expected = self.honest()

    def status(self, request: Malformed) -> tuple[str, str]:
        """The status with which a request is answered, and its words."""
        try:
            self._call(request.payload, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            call: Any = error
            return call.code().name, call.details()
        return OK, ""

    def honest(self) -> dict[str, list[Any]]:
        """The outputs of the honest request; Triton gives them in any order."""
        answer = service_pb2.ModelInferResponse.FromString(self._call(HONEST, timeout=DEADLINE_SECONDS))
        raw = {output.name: content for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)}
        return {**raw, "scores": np.frombuffer(raw["scores"], np.float32).round(4).tolist()}


@pytest.fixture(scope="module")
def asked(server: EmbeddedServer) -> Iterator[Asked]:
    with grpc.insecure_channel(server.endpoint.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield Asked(channel)


@pytest.mark.parametrize("request_", KINDS, ids=[kind.name for kind in KINDS])
def test_what_is_wrong_with_a_request_is_its_own_affair(asked: Asked, request_: Malformed) -> None:
    status, words = asked.status(request_)
    assert status in request_.statuses, words
    assert "deadlock" not in words
    assert "Traceback" not in words
    assert asked.honest() == asked.expected


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_request_at_random_is_answered(asked: Asked, seed: int) -> None:
    status, words = asked.status(random_request(np.random.default_rng(seed), "u1", "1003"))
    assert status in STATUSES, words
    assert asked.honest() == asked.expected


@pytest.mark.parametrize(
    ("kind", "width", "allowed", "setting"),
    [("cart_items", 1001, "1,000", "max_cart_items"), ("recent_items", 1001, "1,000", "max_recent_items"),
     ("exclude", 100_001, "100,000", "max_exclude")],
)  # fmt: skip
def test_what_is_too_large_is_told_what_is_allowed(asked: Asked, kind: str, width: int, allowed: str, setting: str) -> None:
    model = "cart" if kind == "cart_items" else "recommend"
    who = strings("user_id", b"u1")
    status, words = asked.status(
        Malformed("too wide", message(model, who, Given(kind, "BYTES", [1, width], texts(b"1") * width)))
    )
    assert status == REFUSED
    assert f"has lists of {width:,}; this server reads at most {allowed} (serve.{setting})" in words
    widest = Malformed("just right", message(model, who, Given(kind, "BYTES", [1, width - 1], texts(b"1") * (width - 1))))
    assert asked.status(widest) == (OK, "")


def test_honest_requests_beside_malformed_ones_are_answered_as_if_alone(server: EmbeddedServer, asked: Asked) -> None:
    """Triton hands requests together to a step that is busy; the strings of one must not fail the others."""
    bad = Malformed("cut off", message("recommend", cut_off()))

    def attacker(_: int) -> set[str]:
        with grpc.insecure_channel(server.endpoint.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            other = Asked(channel)
            return {other.status(bad)[0] for _ in range(60)}

    def visitor(_: int) -> bool:
        with grpc.insecure_channel(server.endpoint.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            other = Asked(channel)
            return all(other.honest() == asked.expected for _ in range(60))

    with ThreadPoolExecutor(10) as pool:
        told, same = pool.map(attacker, range(4)), pool.map(visitor, range(6))
        assert set().union(*told) == {REFUSED}
        assert all(same)
