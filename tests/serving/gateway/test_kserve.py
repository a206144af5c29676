"""KServe v2 through the gateway: every client works unchanged, and what could reach into Triton is closed."""

import re
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from running_gateway import Gateway, infer, refusal, rpc
from tritonclient import grpc as triton
from tritonclient.grpc import service_pb2

from serving.client.client import Client
from serving.gateway.served import Served
from serving.local import LocalRepository
from serving.settings import ServeSettings

INTERNAL = ("read_request", "recommend_score", "cart_score", "similar_items_score")
CLOSED = sorted(
    method.name
    for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    if method.name
    not in ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelInfer")
)


def test_triton_s_own_client_works_unchanged(gateway: Gateway, run: Path) -> None:
    user = triton.InferInput("user_id", [1, 1], "BYTES")
    user.set_data_from_numpy(np.array([[b"u1"]], dtype=object))
    with triton.InferenceServerClient(gateway.endpoint.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.get_server_metadata().name == "cartwheel"
        assert client.is_model_ready("recommend")
        assert {tensor.name for tensor in client.get_model_metadata("recommend").inputs} >= {"user_id", "k"}
        assert client.get_model_config("cart").config.parameters["max_k"].string_value == "100"
        answer = client.infer(
            "recommend", [user], request_id="mine", outputs=[triton.InferRequestedOutput("items")], timeout=10_000_000
        )
    assert answer.get_response().id == "mine"
    expected = LocalRepository(run / "repository").ask("recommend", user_id=[["u1"]])["items"]
    assert [[item.decode() for item in row] for row in answer.as_numpy("items")] == expected.tolist()


def test_the_answer_names_request_and_version(channel: grpc.Channel, run: Path) -> None:
    asked, read = infer("recommend", user_id=["u1"]), service_pb2.ModelInferResponse
    answer = rpc(channel, "ModelInfer", asked, read, metadata=[("x-request-id", "r1")])
    assert answer.parameters["request_id"].string_param == "r1"
    assert answer.parameters["version"].string_param == Served.read(run / "repository", ServeSettings()).version
    assert {output.name for output in answer.outputs} == {"items", "scores", "reason", "reason_item", "retrievers"}
    made = rpc(channel, "ModelInfer", asked, read)
    assert re.fullmatch(r"[0-9a-f]{16}", made.parameters["request_id"].string_param)
    asked.id = "mine"
    assert rpc(channel, "ModelInfer", asked, read).parameters["request_id"].string_param == "mine"


@pytest.mark.parametrize("model", [*INTERNAL, "", "no such model"])
@pytest.mark.parametrize("method", ["ModelInfer", "ModelConfig", "ModelMetadata", "ModelReady"])
def test_models_of_steps_are_not_there(channel: grpc.Channel, model: str, method: str) -> None:
    kind = {"ModelInfer": service_pb2.ModelInferRequest, "ModelConfig": service_pb2.ModelConfigRequest}
    request = infer(model) if method == "ModelInfer" else kind.get(method, service_pb2.ModelReadyRequest)(name=model)
    assert refusal(lambda: rpc(channel, method, request)) == (
        "NOT_FOUND",
        f"There is no model {model!r} to ask; there are cart, recommend, similar_items.",
    )


def test_only_the_version_that_is_served_can_be_asked(channel: grpc.Channel) -> None:
    request = infer("recommend", user_id=["u1"])
    request.model_version = "2"
    assert refusal(lambda: rpc(channel, "ModelInfer", request))[0] == "NOT_FOUND"
    request.model_version = "1"
    assert rpc(channel, "ModelInfer", request)


@pytest.mark.parametrize("method", CLOSED)
def test_what_reaches_into_triton_is_closed(channel: grpc.Channel, method: str) -> None:
    status, sentence = refusal(lambda: rpc(channel, method, b""))
    assert (status, sentence.partition(" ")[0]) == ("UNIMPLEMENTED", method)


@pytest.mark.parametrize("name", ["classification", "shared_memory_region", "shared_memory_offset", "binary_data", "anything"])
def test_parameters_of_tensors_are_refused(channel: grpc.Channel, name: str) -> None:
    of_output = infer("recommend", user_id=["u1"])
    of_output.outputs.add(name="items").parameters[name].int64_param = 2
    status, sentence = refusal(lambda: rpc(channel, "ModelInfer", of_output))
    assert (status, f"The output 'items' has a parameter {name!r}" in sentence) == ("INVALID_ARGUMENT", True)
    of_input = infer("recommend", user_id=["u1"])
    of_input.inputs[0].parameters[name].string_param = "region"
    status, sentence = refusal(lambda: rpc(channel, "ModelInfer", of_input))
    assert (status, f"The input 'user_id' has a parameter {name!r}" in sentence) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("name", ["sequence_id", "sequence_start", "sequence_end", "binary_data_output", "headers", "anything"])
def test_parameters_of_requests_are_refused_but_a_few(channel: grpc.Channel, name: str) -> None:
    status, sentence = refusal(lambda: rpc(channel, "ModelInfer", infer("recommend", {name: 1}, user_id=["u1"])))
    assert (status, f"a parameter {name!r}" in sentence) == ("INVALID_ARGUMENT", True)
    assert rpc(channel, "ModelInfer", infer("recommend", {"priority": 1, "timeout": 10_000_000}, user_id=["u1"]))


def test_a_message_beyond_the_limit_is_refused(gateway: Gateway) -> None:
    large = infer("recommend", user_id=["u" * (10 << 20)])
    with grpc.insecure_channel(gateway.endpoint.grpc, [("grpc.max_send_message_length", -1)]) as channel:
        assert refusal(lambda: rpc(channel, "ModelInfer", large))[0] == "RESOURCE_EXHAUSTED"
        wide = infer("recommend", user_id=["u1"], recent_items=["1003"] * 1001)
        assert refusal(lambda: rpc(channel, "ModelInfer", wide)) == (
            "INVALID_ARGUMENT",
            "The input 'recent_items' has lists of 1,001; this server reads at most 1,000 (serve.max_recent_items).",
        )
        wide.inputs[1].shape[:] = [1001, 1]
        assert "(serve.max_rows)" in refusal(lambda: rpc(channel, "ModelInfer", wide))[1]


def test_triton_itself_is_reached_by_its_user_alone(gateway: Gateway) -> None:
    [command] = [
        line.read_bytes().split(b"\0")
        for line in Path("/proc").glob("[0-9]*/cmdline")
        if line.parent.joinpath("comm").read_text() == "tritonserver\n" and str(gateway.run).encode() in line.read_bytes()
    ]
    [socket] = [part.decode().partition("=unix:")[2] for part in command if part.startswith(b"--grpc-address=")]
    assert Path(f"{socket}:1").is_socket()
    assert Path(socket).parent.stat().st_mode & 0o077 == 0
    assert {part.decode() for part in command if part.startswith((b"--http-address=", b"--grpc-port="))} == {
        "--http-address=127.0.0.1",
        "--grpc-port=1",
    }


def test_cartwheel_s_client_works_unchanged(gateway: Gateway) -> None:
    with Client(gateway.endpoint.grpc) as client:
        assert client.health().ready
        assert len(client.recommend("u1", recent_items=[1003], k=3)) == 3
        assert client.cart([1003]).completions
        assert client.similar_items(1003)


@pytest.mark.parametrize(
    ("port", "path", "status"),
    [
        ("http", "/health/live", 200),
        ("http", "/health/ready", 200),
        ("http", "/metrics", 200),
        ("metrics", "/metrics", 200),
        ("metrics", "/health/live", 404),
        ("http", "/v2/models/recommend/infer", 405),
    ],
)
def test_health_and_metrics_over_http(gateway: Gateway, port: str, path: str, status: int) -> None:
    assert httpx.get(f"http://{getattr(gateway.endpoint, port)}{path}").status_code == status


@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=200))
@example(raw=b"\x12\x03\x00\x00\x80").via("text that is no UTF-8, which protobuf's parsers refuse in ways of their own")
def test_any_bytes_are_answered_with_a_status(channel: grpc.Channel, raw: bytes) -> None:
    code, sentence = refusal(lambda: rpc(channel, "ModelInfer", raw))
    assert code in {"INVALID_ARGUMENT", "NOT_FOUND"}, sentence
