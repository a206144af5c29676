"""KServe v2 over REST: the same answers as over gRPC, the same refusals, and a sentence for whatever is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_gateway import Gateway, infer, rpc, texts
from tritonclient.grpc import InferResult, service_pb2

from serving.gateway.refusal import RefusedError
from serving.gateway.rest import HEADER_LENGTH, message_of, parted

USER = {"name": "user_id", "shape": [1, 1], "datatype": "BYTES", "data": ["u1"]}
K = {"name": "k", "shape": [1], "datatype": "INT32", "data": [7]}
WHEN = {"name": "timestamp", "shape": [1, 1], "datatype": "INT64", "data": [[1_700_006_400_000_000]]}


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}", timeout=60) as client:
        yield client


def ask(http: httpx.Client, content: Any, model: str = "recommend", **headers: str) -> httpx.Response:
    return http.post(f"/v2/models/{model}/infer", json=content, headers=headers)


def test_it_answers_as_over_grpc(http: httpx.Client, channel: grpc.Channel) -> None:
    asked = infer("recommend", user_id=["u1"])
    asked.inputs.add(name="k", datatype="INT32", shape=[1])
    asked.raw_input_contents.append(np.array([7], np.int32).tobytes())
    asked.inputs.add(name="timestamp", datatype="INT64", shape=[1, 1])
    asked.raw_input_contents.append(np.array([1_700_006_400_000_000], np.int64).tobytes())
    expected = InferResult(rpc(channel, "ModelInfer", asked, service_pb2.ModelInferResponse))
    answer = ask(http, {"id": "mine", "inputs": [USER, K, WHEN]})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["id"], told["parameters"]["request_id"], answer.headers["x-request-id"]) == ("mine", "mine", "mine")
    assert told["parameters"]["rung"] == "ranked"
    outputs = {output["name"]: output for output in told["outputs"]}
    for name, output in outputs.items():
        wanted = expected.as_numpy(name)
        assert output["shape"] == list(wanted.shape)
        flat = [value.decode() if isinstance(value, bytes) else value for value in wanted.ravel().tolist()]
        assert output["data"] == [None if value in (np.inf, -np.inf) else value for value in flat]
    one = ask(http, {"inputs": [USER], "outputs": [{"name": "items"}]}).json()
    assert [output["name"] for output in one["outputs"]] == ["items"]


def test_binary_tensors_stand_behind_the_json_both_ways(http: httpx.Client) -> None:
    raw = texts(["u1"])
    user = {"name": "user_id", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    content = {"inputs": [user, K, WHEN], "outputs": [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "items"}]}
    head = httpx.Request("POST", "http://x", json=content).content
    answer = http.post("/v2/models/recommend/infer", content=head + raw, headers={HEADER_LENGTH: str(len(head))})
    assert answer.status_code == 200, answer.text
    length = int(answer.headers[HEADER_LENGTH])
    told, behind = parted(answer.content, str(length))
    outputs = {output["name"]: output for output in told["outputs"]}
    assert outputs["scores"]["parameters"]["binary_data_size"] == len(behind) == 4 * 7
    plain = {output["name"]: output["data"] for output in ask(http, {"inputs": [USER, K, WHEN]}).json()["outputs"]}
    assert np.frombuffer(behind, "<f4").tolist() == plain["scores"]
    assert outputs["items"]["data"] == plain["items"]
    every = ask(http, {"parameters": {"binary_data_output": True}, "inputs": [USER, K, WHEN]})
    assert int(every.headers[HEADER_LENGTH]) < len(every.content)


def test_the_server_and_its_models_tell_what_they_are(http: httpx.Client) -> None:
    assert http.get("/v2").json()["name"] == "cartwheel"
    assert http.get("/v2/health/live").status_code == http.get("/v2/health/ready").status_code == 200
    assert http.get("/v2/models/recommend/ready").status_code == 200
    about = http.get("/v2/models/recommend").json()
    assert "rules" in [tensor["name"] for tensor in about["inputs"]]
    assert {"name": "items", "datatype": "BYTES", "shape": [-1, -1]} in about["outputs"]
    assert http.get("/v2/models/recommend/versions/1/config").json()["name"] == "recommend"
    for path in ("recommend_encode", "recommend_encode/ready", "recommend_encode/config", "recommend/versions/2"):
        refused = http.get(f"/v2/models/{path}")
        assert refused.status_code == 404, path
        assert refused.json()["error"].startswith("There is no")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "no JSON object"),
        ({"inputs": []}, "inputs is []"),
        ({"inputs": [USER], "more": 1}, "more is no field"),
        ({"inputs": [{**USER, "datatype": "FP16"}]}, 'inputs[0].datatype is "FP16"'),
        ({"inputs": [{**USER, "shape": [1, -1]}]}, "inputs[0].shape is [1, -1]"),
        ({"inputs": [{**USER, "data": [1]}]}, "inputs[0].data holds 1; give texts"),
        ({"inputs": [{**USER, "data": ["a", "b"]}]}, "inputs[0].data is 2 values; give the 1 values"),
        ({"inputs": [USER, {**K, "data": [2**31]}]}, "inputs[1].data holds 2147483648; give numbers of INT32"),
        ({"inputs": [USER, {**K, "data": [1.5]}]}, "inputs[1].data holds 1.5"),
        ({"inputs": [{**USER, "parameters": {"binary_data_size": 9}}]}, "binary_data_size is 9, and 0 bytes"),
        ({"inputs": [{**USER, "parameters": {"shared_memory_region": "x"}}]}, "a parameter 'shared_memory_region'"),
        ({"inputs": [USER], "outputs": [{"name": "items", "parameters": {"classification": 2}}]}, "'classification'"),
        ({"inputs": [USER], "parameters": {"sequence_id": 7}}, "a parameter 'sequence_id'"),
        ({"inputs": [USER], "parameters": {"x": None}}, "is null; give a text"),
        ({"inputs": [{**USER, "name": "barred"}]}, "'barred' is the gateway's own"),
        ({"inputs": [USER], "id": 7}, "id is 7; give a text"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(http: httpx.Client, content: Any, words: str) -> None:
    answer = ask(http, content)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_time_and_size_are_bounded_and_steps_are_closed(http: httpx.Client) -> None:
    assert ask(http, {"inputs": [USER]}, "recommend_encode").status_code == 404
    assert ask(http, {"inputs": [USER]}, **{"x-timeout-ms": "soon"}).status_code == 422
    assert http.post("/v2/models/recommend/infer", content=b"x" * 20_000_000).status_code == 413
    behind = {HEADER_LENGTH: "9999"}
    assert "the bytes of the JSON" in http.post("/v2/models/recommend/infer", content=b"{}", headers=behind).json()["error"]


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "parameters", "outputs"), _ANYTHING)),
    st.lists(
        st.fixed_dictionaries({}, optional={**{key: st.just(value) | _ANYTHING for key, value in USER.items()}}), max_size=2
    ),
    st.binary(max_size=12),
)
def test_whatever_is_sent_becomes_a_message_or_a_sentence(content: dict[str, Any], inputs: list[Any], binary: bytes) -> None:
    refused = None
    try:
        asked, _ = message_of({**content, "inputs": inputs}, binary, "recommend", "")
    except RefusedError as error:
        refused = error
    if refused is None:
        service_pb2.ModelInferRequest.FromString(asked.SerializeToString())
    else:
        assert (refused.http_status, refused.sentence[-1]) == (422, ".")
