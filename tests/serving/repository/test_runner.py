"""The runner that is copied into embedded repositories, driven by a stand-in for Triton's Python interface."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import serialize_byte_tensor

from serving.local import LocalRepository
from serving.programs import SHARED


class Tensor:
    def __init__(self, name: str, value: np.ndarray) -> None:
        self._name, self._value = name, value

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._value


class TritonError(Exception):
    INVALID_ARG, INTERNAL = "INVALID_ARG", "INTERNAL"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def stand_in() -> ModuleType:
    module = ModuleType("triton_python_backend_utils")
    module.Tensor = Tensor
    module.TritonError = TritonError
    module.InferenceResponse = lambda output_tensors, error=None: SimpleNamespace(tensors=output_tensors, error=error)
    module.get_input_tensor_by_name = lambda request, name: request.inputs.get(name)
    return module


@pytest.fixture(scope="module")
def runner(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module as it lies in the repository, loaded from a copy: Python leaves a compiled file beside it."""
    copied = shutil.copy(run / "repository/recommend_score/1/model.py", tmp_path_factory.mktemp("runner"))
    sys.modules["triton_python_backend_utils"] = stand_in()
    try:
        spec = importlib.util.spec_from_file_location("copied_runner", copied)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["triton_python_backend_utils"]


def load(runner: ModuleType, run: Path, model: str) -> Any:
    folder = run / "repository" / model
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    content = json_format.MessageToDict(config, preserving_proto_field_name=True, including_default_value_fields=True)
    loaded = runner.TritonPythonModel()
    loaded.initialize({"model_config": json.dumps(content), "model_repository": str(folder), "model_version": "1"})
    return loaded


def ask(wanted: tuple[str, ...] = (), **inputs: Any) -> SimpleNamespace:
    tensors = {}
    for name, value in inputs.items():
        dtype = {"k": np.int32, "diversity": np.float32, "timestamp": np.int64, "cart_index": np.int64}.get(name, object)
        tensors[name] = Tensor(name, value if isinstance(value, np.ndarray) else np.array(value, dtype=dtype))
    outputs = wanted or ("query_categorical", "recents", "excluded", "cart_index")
    return SimpleNamespace(inputs=tensors, requested_output_names=lambda: outputs)


def values(response: Any) -> dict[str, np.ndarray]:
    assert response.error is None, response.error
    return {tensor.name(): tensor.as_numpy() for tensor in response.tensors}


def test_ragged_requests_are_answered_together_as_alone(runner: ModuleType, run: Path) -> None:
    score = load(runner, run, "recommend_score")
    requests = [
        ask(user_id=[["u1"]]),
        ask(
            user_id=[["u2"], ["u3"]],
            recent_items=[["1001", "1002", "1001"], ["1007", "", ""]],
            timestamp=[[0], [1_700_000_000_000_000]],
        ),
        ask(cart_items=[["1003", "1004"]], exclude=[["1001"]]),
    ]
    for response, request in zip(score.execute(requests), requests, strict=True):
        together, alone = values(response), values(score.execute([request])[0])
        assert set(together) == {"query_categorical", "recents", "excluded", "cart_index"}
        for name in ("query_categorical", "recents", "cart_index"):
            np.testing.assert_array_equal(together[name], alone[name])
        for row in range(len(alone["excluded"])):
            assert set(together["excluded"][row]) | {-1} == set(alone["excluded"][row]) | {-1}


def test_one_bad_request_spoils_no_other(runner: ModuleType, run: Path) -> None:
    score = load(runner, run, "recommend_score")
    good, bad, late = score.execute(
        [ask(user_id=[["u1"]]), ask(user_id=[["u1", "u2"]]), ask(user_id=[["u1"]], timestamp=[[1_700_000_000]])]
    )
    assert values(good)["recents"].shape == (1, 15)
    assert bad.error.code == late.error.code == "INVALID_ARG"
    assert str(bad.error) == "The input 'user_id' has shape [1, 2]; give it with shape [B, 1]."
    assert "'timestamp' holds 1700000000; give Unix microseconds" in str(late.error)


def test_a_run_that_fails_fails_its_own_request_only(runner: ModuleType, run: Path) -> None:
    lines = load(runner, run, "cart_score")
    shopper = values(
        load(runner, run, "recommend_score").execute(
            [
                ask(
                    ("query_categorical", "query_continuous", "recents", "user_mean_price", "cart_index", "cart_counts"),
                    user_id=[["u1"]],
                    cart_items=[["1001"]],
                )
            ]
        )[0]
    )
    out_of_range = {**shopper, "cart_index": np.array([[10_000]], np.int64)}
    wider = {**shopper, "cart_index": np.array([[1, 2, 3]], np.int64), "cart_counts": np.ones((1, 3), np.int64)}
    wanted = ("line_probability", "cart_probability")
    good, bad, wide = lines.execute([ask(wanted, **shopper), ask(wanted, **out_of_range), ask(wanted, **wider)])
    assert values(good)["line_probability"].shape == (1, 1)
    assert values(wide)["line_probability"].shape == (1, 3)
    assert bad.error.code == "INTERNAL"
    assert "cart_score failed" in str(bad.error)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"k": [0]}, "'k' holds 0; ask for 1 to 100 items"),
        ({"k": [-2]}, "'k' holds -2; ask for 1 to 100 items"),
        ({"k": [101]}, "'k' holds 101; ask for 1 to 100 items"),
        ({"diversity": [float("nan")]}, "'diversity' holds nan; give a number of at least 0"),
        ({"k": [1, 2]}, "'k' has shape [2]; give it with shape [1]"),
        ({}, ""),
    ],
)
def test_the_order_step_checks_k_and_diversity(
    runner: ModuleType, run: Path, local: LocalRepository, inputs: dict, message: str
) -> None:
    order = load(runner, run, "recommend_order")
    count = local.metadata["sizes"]["candidates"]
    fixed = {
        "candidates": np.arange(count).reshape(1, -1),
        "ranking_scores": np.linspace(1, 0, count, dtype=np.float32).reshape(1, -1),
        "recents": np.full((1, 15), -1),
        "known_user": np.zeros((1, 1), np.int64),
    }
    answer = order.execute([ask(("items", "scores"), **fixed, **inputs)])[0]
    if message:
        assert answer.error.code == "INVALID_ARG"
        assert message in str(answer.error)
    else:
        assert values(answer)["items"].shape == (1, 10)


def test_a_missing_input_and_uneven_rows_are_named(runner: ModuleType, run: Path) -> None:
    missing = load(runner, run, "similar_items_retrieve").execute([ask(("neighbours",))])[0]
    assert "The input 'item_id' is missing; give it with shape [B, 1]." in str(missing.error)
    uneven = load(runner, run, "recommend_score").execute([ask(user_id=[["a"], ["b"]], exclude=[["c"]])])[0]
    assert "The inputs differ in their number of rows: {'user_id': 2, 'exclude': 1}" in str(uneven.error)


def test_steps_that_share_a_program_answer_as_alone(runner: ModuleType, run: Path, local: LocalRepository) -> None:
    wanted = ("candidates", "retrieval_scores", "ranking_scores")
    request = {"user_id": [["u1"], ["u2"]], "exclude": [["1001"], ["1002"]]}
    answer = values(load(runner, run, "recommend_score").execute([ask(wanted, **request)])[0])
    tensors = {name: np.array(value, dtype=object) for name, value in request.items()}
    for step in SHARED:
        reads = {tensor.name for model in local.contract.models if model.name == step for tensor in model.inputs}
        tensors.update(local.run(step, {name: value for name, value in tensors.items() if name in reads}))
    for name in wanted:
        np.testing.assert_array_equal(answer[name], tensors[name])


def test_a_very_long_list_runs_alone(runner: ModuleType, run: Path) -> None:
    score = load(runner, run, "recommend_score")
    many = [[str(number) for number in range(5000)]]
    first, second = score.execute([ask(user_id=[["u1"]], exclude=many), ask(user_id=[["u2"]], exclude=[["1001"]])])
    assert values(first)["excluded"].shape[1] > 5000
    assert values(second)["excluded"].shape[1] < 20


def test_strings_are_parsed_as_triton_writes_them(runner: ModuleType) -> None:
    given = ["", "a", "ünbekannt", "x" * 70_000, "1"]
    wire = serialize_byte_tensor(np.array([text.encode() for text in given], dtype=object)).item()
    assert runner._parsed(np.frombuffer(wire, np.uint8)).tolist() == given
    assert runner._parsed(np.zeros(0, np.uint8)).tolist() == []
    assert runner._parsed(b"\x02\x00\x00\x00\xff\xfe").tolist() == ["\ufffd\ufffd"]
