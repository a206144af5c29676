"""The runner that is copied into embedded repositories, driven by a stand-in for Triton's Python interface."""

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import serialize_byte_tensor

from serving.contract.programs import SHARED
from serving.local import LocalRepository
from serving.rules.packed import packed
from serving.settings import ExportSettings


class Tensor:
    def __init__(self, name: str, value: np.ndarray) -> None:
        self._name, self._value = name, value

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._value


class TritonError(Exception):
    INVALID_ARG, INTERNAL, UNAVAILABLE = "INVALID_ARG", "INTERNAL", "UNAVAILABLE"

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
    copied = shutil.copy(run / "repository/read_request/1/model.py", tmp_path_factory.mktemp("runner"))
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
    content = json_format.MessageToDict(config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    loaded = runner.TritonPythonModel()
    names = {"model_repository": str(folder), "model_version": "1", "model_instance_name": f"{model}_0_0"}
    loaded.initialize({"model_config": json.dumps(content), **names})
    return loaded


INT64 = dict.fromkeys(("timestamp", "events_time", "cart_index"), np.int64)
INT32, FLOAT32 = (
    dict.fromkeys(("k", "barred", "priced"), np.int32),
    dict.fromkeys(("diversity", "events_price", "prices"), np.float32),
)
KINDS = {**INT32, **FLOAT32, **INT64}


def ask(wanted: tuple[str, ...] = (), **inputs: Any) -> SimpleNamespace:
    tensors = {}
    for name, value in inputs.items():
        dtype = KINDS.get(name, object)
        tensors[name] = Tensor(name, value if isinstance(value, np.ndarray) else np.array(value, dtype=dtype))
    outputs = wanted or ("query_categorical", "recents", "excluded", "cart_index", *ROWS)
    return SimpleNamespace(inputs=tensors, requested_output_names=lambda: outputs, request_id=lambda: "")


def values(response: Any) -> dict[str, np.ndarray]:
    assert response.error is None, response.error
    return {tensor.name(): tensor.as_numpy() for tensor in response.tensors}


EVENTS = tuple(f"events_{name}_row" for name in ("item", "type", "time", "price"))
ROWS = (
    *EVENTS,
    "user_id_row",
    "recent_items_row",
    "exclude_row",
    "cart_items_row",
    "timestamp_row",
    "k_row",
    "diversity_row",
    "barred_row",
    "priced_row",
    "prices_row",
    "asked",
)
OF_CART = (
    "query_categorical",
    "query_continuous",
    "recents",
    "user_mean_price",
    "cart_index",
    "cart_counts",
    "form",
    "priced_now",
    "prices_now",
)
SINGLE = ("k_row", "diversity_row", "asked")


def handed_on(runner: ModuleType, run: Path, *requests: SimpleNamespace) -> list[dict[str, np.ndarray]]:
    """What the first program hands on of each request, as the second one is given it: strings in their wire form again."""
    return [rows_of(response) for response in load(runner, run, "read_request").execute(requests)]


def rows_of(response: Any) -> dict[str, np.ndarray]:
    interface = sys.modules["triton_python_backend_utils"]
    rows = {}
    for name, value in values(response).items():
        own = name if name in SINGLE else name.removesuffix("_row")
        if value.dtype == object:
            wire = bytes(interface.serialize_byte_tensor(value))
            value = np.asarray(interface.deserialize_bytes_tensor(np.frombuffer(wire, np.uint8)).reshape(list(value.shape)))
        rows[own] = value
    return rows


def test_ragged_requests_are_answered_together_as_alone(runner: ModuleType, run: Path) -> None:
    shoppers = handed_on(
        runner,
        run,
        ask(ROWS, user_id=[["u1"]], cart_items=[["1001"]], k=[3]),
        ask(
            ROWS,
            k=[3],
            user_id=[["u2"], ["u3"]],
            recent_items=[["1001", "1002", "1001"], ["1007", "", ""]],
            exclude=[["1011", "1012", "1013", "1014"], ["1015", "", "", ""]],
            cart_items=[["1003", "1004", "1005"], ["1006", "1006", ""]],
            timestamp=[[0], [1_700_000_000_000_000]],
            events_item=[["1020", "1021", "1022"], ["1023", "", ""]],
            events_type=[["view", "purchase", "cart"], ["view", "", ""]],
            events_time=[[1_700_006_400_000_000, 1_700_006_401_000_000, 0], [0, 0, 0]],
            events_price=[[3.5, float("nan"), 2.0], [float("nan"), float("nan"), float("nan")]],
        ),
        ask(ROWS, cart_items=[["1003", "1004"]], exclude=[["1001"]], k=[3], diversity=[0.5]),
        ask(ROWS, user_id=[["u4"]], cart_items=np.empty((1, 0), object), events_item=np.empty((1, 0), object)),
        ask(ROWS, user_id=[["u4"]], cart_items=[["1009"]], diversity=[0.0], k=[3]),
        ask(ROWS, user_id=[["u5"]], cart_items=[["1009"]], k=[3], events_item=[["1031", "1030"]]),
    )
    assert len({shopper["exclude"].item().shape[1] for shopper in shoppers}) > 1
    for model, outputs in (
        ("recommend_score", ("candidates", "ranking_scores", "items", "scores", "reason_item", *OF_CART)),
        ("cart_score", ("line_probability", "cart_probability")),
    ):
        step = load(runner, run, model)
        requests = [ask(outputs, **{name: shopper[name] for name in step._types if name in shopper}) for shopper in shoppers]
        given = [values(response) for response in load(runner, run, model).execute(requests)]
        if model == "recommend_score":
            assert [shopper["cart_index"].shape[1] for shopper in given] == [1, 3, 2, 0, 1, 1]
            shoppers = given
        for response, request in zip(step.execute(requests), requests, strict=True):
            together, alone = values(response), values(step.execute([request])[0])
            assert set(together) == set(outputs)
            for name in outputs:
                assert together[name].shape == alone[name].shape
                if together[name].dtype == object:
                    assert together[name].tolist() == alone[name].tolist()
                else:
                    np.testing.assert_allclose(together[name], alone[name], rtol=1e-5, atol=1e-6)


def test_requests_that_agree_in_what_each_has_one_of_are_computed_together(runner: ModuleType, run: Path) -> None:
    score = load(runner, run, "recommend_score")
    ran: list[int] = []
    run_once = score._run
    score._run = lambda requests: ran.append(len(requests)) or run_once(requests)
    wishes: list[dict[str, Any]] = [{"k": [3]}, {"k": [7]}, {"k": [3]}, {}, {"k": [3], "diversity": [0.0]}, {"k": [10]}, {}]
    shoppers = handed_on(runner, run, *(ask(ROWS, user_id=[["u1"], ["u2"]], **wish) for wish in wishes))
    answers = score.execute([ask(("items",), **{name: shopper[name] for name in score._types}) for shopper in shoppers])
    assert [values(answer)["items"].shape for answer in answers] == [(2, wish.get("k", [10])[0]) for wish in wishes]
    assert sorted(ran) == [1, 1, 1, 2, 2]


def test_a_diversity_of_zero_is_one_and_none_is_none(runner: ModuleType, export: Callable[..., LocalRepository]) -> None:
    path = export(ExportSettings(diversity=5.0, parity_rows=20)).path.parent
    score = load(runner, path, "recommend_score")
    answers = {}
    for name, wish in {"exported": {}, "zero": {"diversity": [0.0]}, "same": {"diversity": [5.0]}}.items():
        (shopper,) = handed_on(runner, path, ask(ROWS, user_id=[["u1"]], k=[20], **wish))
        request = ask(("items",), **{each: shopper[each] for each in score._types})
        answers[name] = values(score.execute([request])[0])["items"].tolist()
    assert answers["exported"] == answers["same"]
    assert answers["exported"] != answers["zero"]


def test_a_closed_gate_keeps_out_new_requests_alone(
    runner: ModuleType, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTWHEEL_GATE", str(tmp_path / "closed"))
    monkeypatch.setenv("CARTWHEEL_PASS", "the server itself")
    read, own = load(runner, run, "read_request"), ask(ROWS, user_id=[["u1"]])
    own.request_id = lambda: "the server itself"
    values(read.execute([ask(ROWS, user_id=[["u1"]])])[0])
    (tmp_path / "closed").touch()
    refused, let_in = read.execute([ask(ROWS, user_id=[["u1"]]), own])
    assert refused.error.code == "UNAVAILABLE"
    assert "The server is stopping" in str(refused.error)
    assert set(values(let_in)) == set(ROWS)
    own = ask(ROWS, user_id=[["u1"]])
    own.request_id = lambda: "the server itself"
    (shopper,) = handed_on(runner, run, own)
    score = load(runner, run, "recommend_score")
    under_way = ask(("items", "scores"), **{name: shopper[name] for name in score._types})
    assert values(score.execute([under_way])[0])["items"].shape == (1, 10)


@pytest.mark.parametrize("model", ["read_request", "recommend_score"])
def test_one_bad_request_spoils_no_other(runner: ModuleType, run: Path, model: str) -> None:
    program = load(runner, run, model)
    rows = {} if model == "read_request" else {"k_row": np.array([[3]], np.int32), "diversity_row": np.array([[0]], np.float32)}
    good, bad, late, deep = program.execute(
        [
            ask(("user_id_row", "items"), user_id=[["u1"]], **rows),
            ask(user_id=[["u1", "u2"]], **rows),
            ask(user_id=[["u1"]], timestamp=[[1_700_000_000]], **rows),
            ask(user_id=[[["u1"]]], **rows),
        ]
    )
    (answer,) = values(good).values()
    assert answer.shape == ((1, 1) if model == "read_request" else (1, 3))
    assert bad.error.code == late.error.code == "INVALID_ARG"
    assert str(bad.error) == "The input 'user_id' has shape [1, 2]; give it with shape [B, 1]."
    assert str(deep.error) == "The input 'user_id' has shape [1, 1, 1]; give it with shape [B, 1]."
    assert "'timestamp' holds 1700000000; give Unix microseconds" in str(late.error)


def test_a_run_that_fails_fails_its_own_request_only(runner: ModuleType, run: Path) -> None:
    lines = load(runner, run, "cart_score")
    (given,) = handed_on(runner, run, ask(ROWS, user_id=[["u1"]], cart_items=[["1001"]]))
    score = load(runner, run, "recommend_score")
    shopper = values(score.execute([ask(OF_CART, **{name: given[name] for name in score._types})])[0])
    out_of_range = {**shopper, "cart_index": np.array([[10_000]], np.int64)}
    wider = {**shopper, "cart_index": np.array([[1, 2, 3]], np.int64), "cart_counts": np.ones((1, 3), np.int64)}
    wanted = ("line_probability", "cart_probability")
    good, bad, wide = lines.execute([ask(wanted, **shopper), ask(wanted, **out_of_range), ask(wanted, **wider)])
    assert values(good)["line_probability"].shape == (1, 1)
    assert values(wide)["line_probability"].shape == (1, 3)
    assert bad.error.code == "INTERNAL"
    assert "cart_score failed" in str(bad.error)
    bad, good = lines.execute([ask(wanted, **out_of_range), ask(wanted, **shopper)])
    assert values(good)["line_probability"].shape == (1, 1), "of two as of three"
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
def test_the_first_step_checks_what_later_steps_read(runner: ModuleType, run: Path, inputs: dict, message: str) -> None:
    for wanted, given in ((ROWS, {"user_id": [["u1"]]}), (("item_id_row", "k_row"), {"item_id": [["1003"]]})):
        answer = load(runner, run, "read_request").execute([ask(wanted, **given, **inputs)])[0]
        if message:
            assert answer.error.code == "INVALID_ARG"
            assert message in str(answer.error)
        else:
            values(answer)


def test_a_later_step_asked_by_itself_checks_its_k(runner: ModuleType, run: Path) -> None:
    (shopper,) = handed_on(runner, run, ask(ROWS, user_id=[["u1"]]))
    score = load(runner, run, "recommend_score")
    given = {**{name: shopper[name] for name in score._types}, "k_row": np.array([[2**31 - 1]], np.int32)}
    answer = score.execute([ask(("items",), **given)])[0]
    assert answer.error.code == "INVALID_ARG"
    assert "'k_row' holds 2147483647; ask for 1 to 100 items" in str(answer.error)
    (pair,) = handed_on(runner, run, ask(ROWS, user_id=[["u1"], ["u2"]]))
    given = {**{name: pair[name] for name in score._types}, "k_row": np.array([[3], [1000]], np.int32)}
    answer = score.execute([ask(("items",), **given)])[0]
    assert "'k_row' holds 1000; ask for 1 to 100 items" in str(answer.error)


def test_a_missing_input_and_uneven_rows_are_named(runner: ModuleType, run: Path) -> None:
    missing = load(runner, run, "read_request").execute([ask(("item_id_row", "k_row"), k=[3])])[0]
    assert "The input 'item_id' is missing; give it with shape [B, 1]." in str(missing.error)
    uneven = load(runner, run, "read_request").execute([ask(ROWS, user_id=[["a"], ["b"]], exclude=[["c"]])])[0]
    assert "The inputs differ in their number of rows: {'user_id': 2, 'exclude': 1}" in str(uneven.error)
    events = ask(ROWS, user_id=[["a"]], events_item=[["1001", "1002"]], events_time=[[0]])
    unequal = load(runner, run, "read_request").execute([events])[0]
    assert "The inputs differ in the length of their lists: {'events_item': 2, 'events_time': 1}" in str(unequal.error)


def test_who_asks_a_later_step_and_leaves_out_what_it_requires_fails_alone(runner: ModuleType, run: Path) -> None:
    """Triton counts the inputs of a step that has optional ones, and lets any two of them stand for the two that are required."""
    (shopper,) = handed_on(runner, run, ask(ROWS, user_id=[["u1"]]))
    score = load(runner, run, "recommend_score")
    honest = ask(("items",), **{name: shopper[name] for name in score._types})
    good, bad = score.execute([honest, ask(("items",), user_id=[["u1"]], cart_items=[["1001"]])])
    assert values(good)["items"].shape == (1, 10)
    assert bad.error.code == "INVALID_ARG"
    assert "The input 'k_row' is missing; give it with shape [B, 1]." in str(bad.error)


def test_steps_that_share_a_program_answer_as_alone(runner: ModuleType, run: Path, local: LocalRepository) -> None:
    wanted = ("candidates", "retrieval_scores", "ranking_scores", "items", "scores", "reason")
    (tensors,) = handed_on(runner, run, ask(ROWS, user_id=[["u1"], ["u2"]], exclude=[["1001"], ["1002"]]))
    score = load(runner, run, "recommend_score")
    answer = values(score.execute([ask(wanted, **{name: tensors[name] for name in score._types})])[0])
    tensors = {"user_id": np.array([["u1"], ["u2"]], object), "exclude": np.array([["1001"], ["1002"]], object)}
    for step in SHARED:
        reads = {tensor.name for model in local.contract.models if model.name == step for tensor in model.inputs}
        tensors.update(local.run(step, {name: value for name, value in tensors.items() if name in reads}))
    for name in wanted:
        np.testing.assert_array_equal(answer[name], tensors[name])


def test_a_very_long_list_runs_alone(runner: ModuleType, run: Path) -> None:
    many = [[str(number) for number in range(5000)]]
    long, short = handed_on(
        runner, run, ask(ROWS, user_id=[["u1"]], exclude=many), ask(ROWS, user_id=[["u2"]], exclude=[["1001"]])
    )
    assert long["exclude"].item().shape == (1, 5000)
    assert short["exclude"].item().shape == (1, 1)
    score = load(runner, run, "recommend_score")
    ran: list[int] = []
    run_once = score._run
    score._run = lambda requests: ran.append(len(requests)) or run_once(requests)
    requests = [ask(("candidates",), **{name: shopper[name] for name in score._types}) for shopper in (long, short, short)]
    assert all(values(response)["candidates"].shape == (1, 50) for response in score.execute(requests))
    assert sorted(ran) == [1, 2]


def test_what_rules_bar_is_barred_and_computed_together(runner: ModuleType, run: Path) -> None:
    free = ask(ROWS, user_id=[["u1"]], k=[50])
    half = np.append(packed(np.arange(50) % 2 == 0), np.zeros(2000, np.int32))[None].tolist()
    rest = np.append(packed(np.arange(50) % 2 == 1), np.zeros(1500, np.int32))[None].tolist()
    asked = [free, ask(ROWS, user_id=[["u1"]], k=[50], barred=half), ask(ROWS, user_id=[["u1"]], k=[50], barred=rest)]
    score = load(runner, run, "recommend_score")
    ran: list[int] = []
    run_once = score._run
    score._run = lambda requests: ran.append(len(requests)) or run_once(requests)
    handed = handed_on(runner, run, *asked)
    answers = score.execute([ask(("items",), **{name: shopper[name] for name in score._types}) for shopper in handed])
    every, odd, even = ([item for item in values(answer)["items"][0] if item] for answer in answers)
    assert odd == [item for item in every if int(item) % 2]
    assert even == [item for item in every if not int(item) % 2]
    assert sorted(ran) == [1, 2], "however wide, with others of their kind"


def unpacked(runner: ModuleType, wire: bytes, shape: tuple[int, ...]) -> Tensor:
    """A tensor of strings as Triton's Python interface unpacks it, with whatever decoder stands in its module."""
    decode = sys.modules["triton_python_backend_utils"].deserialize_bytes_tensor
    return Tensor("cart_items", np.asarray(decode(np.frombuffer(wire, np.uint8)).reshape(list(shape))))


def wired(*texts: bytes) -> bytes:
    return serialize_byte_tensor(np.array(texts, dtype=object)).item() if texts else b""


def test_strings_are_read_as_triton_writes_them(runner: ModuleType, run: Path) -> None:
    given = [["", "a", "ünbekannt"], ["x" * 70_000, "1003", ""]]
    wire = wired(*(text.encode() for row in given for text in row))
    request = ask(ROWS)
    request.inputs["cart_items"] = unpacked(runner, wire, (2, 3))
    handed = rows_of(load(runner, run, "read_request").execute([request])[0])["cart_items"].item()
    assert (bytes(handed.data), handed.shape) == (wire, (2, 3)), "as they came"
    both = {"k_row": np.zeros((2, 1), np.int32), "diversity_row": np.zeros((2, 1), np.float32)}
    request.inputs.update({name: Tensor(name, value) for name, value in both.items()})
    read = load(runner, run, "recommend_score")._read(request)["cart_items"]
    assert read.tolist() == given
    assert bytes(runner.serialised(read)) == wire
    request.inputs.update({name: Tensor(name, value[:1]) for name, value in both.items()})
    request.inputs["cart_items"] = unpacked(runner, wired(b"\xff\xfe"), (1, 1))
    assert load(runner, run, "recommend_score")._read(request)["cart_items"].tolist() == [["\ufffd\ufffd"]]


@pytest.mark.parametrize(
    ("wire", "shape", "message"),
    [
        (wired(b"1003")[:-1], (1, 1), r"'cart_items' is cut off within a string; its shape \[1, 1\] needs 1"),
        (wired(b"1003") + b"\x01\x00", (1, 2), r"'cart_items' is cut off within a string"),
        (b"\xff\xff\xff\xff1003", (1, 1), r"'cart_items' is cut off within a string"),
        (wired(b"1003", b"1004"), (1, 1), r"'cart_items' holds 2 strings; its shape \[1, 1\] needs 1, each after its length"),
        (wired(b"1003"), (1, 4), r"'cart_items' holds 1 strings; its shape \[1, 4\] needs 4"),
        (b"", (2, 0), "holds"),
    ],
)
@pytest.mark.parametrize("model", ["read_request", "recommend_score"])
def test_strings_that_do_not_fill_their_shape_fail_their_own_request_only(
    runner: ModuleType, run: Path, wire: bytes, shape: tuple[int, ...], message: str, model: str
) -> None:
    is_read, rows = model == "read_request", 1 if wire else shape[0]
    one = {"k_row": np.ones((rows, 1), np.int32), "diversity_row": np.zeros((rows, 1), np.float32)}
    wanted, given = ("cart_items_row",) if is_read else ("cart_index",), {} if is_read else one
    bad, good = ask(wanted, **given), ask(wanted, cart_items=[["1003"]] * rows, **given)
    bad.inputs["cart_items"] = unpacked(runner, wire, shape)
    first, second = load(runner, run, model).execute([bad, good])
    assert values(second)[wanted[0]].shape == (rows, 1)
    if wire:
        assert first.error.code == "INVALID_ARG"
        assert re.search(message, str(first.error))
    else:
        assert values(first)[wanted[0]].shape == shape


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"cart_items": [["1"] * 1001]}, r"'cart_items' has lists of 1,001; .* at most 1,000 \(serve\.max_cart_items\)"),
        ({"recent_items": [["1"] * 1001]}, r"'recent_items' has lists of 1,001; .* at most 1,000 \(serve\.max_recent_items\)"),
        ({"events_item": [["1"] * 257]}, r"'events_item' has lists of 257; .* at most 256 \(serve\.max_events\)"),
        ({"exclude": [["1"] * 100_001]}, r"'exclude' has lists of 100,001; .* at most 100,000 \(serve\.max_exclude\)"),
        ({"user_id": [["u1"]] * 65}, r"'user_id' has 65 rows; .* at most 64 at once \(serve\.max_rows\)"),
        ({"user_id": [["x" * 2**22]]}, r"holds 4,194,308 bytes; .* at most 4,194,304 \(serve\.max_message_bytes\)"),
    ],
)
def test_what_is_too_large_is_refused_with_what_is_allowed_before_it_is_read(
    runner: ModuleType, run: Path, inputs: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(ROWS)
    for name, rows in inputs.items():
        wire = wired(*(text.encode() for row in rows for text in row))
        request.inputs[name] = unpacked(runner, wire, (len(rows), len(rows[0])))
    monkeypatch.setattr(runner._Encoded, "texts", lambda self: pytest.fail("it was read"))
    (answer,) = load(runner, run, "read_request").execute([request])
    assert answer.error.code == "INVALID_ARG"
    assert re.search(message, str(answer.error))


def test_what_waits_to_be_computed_is_bounded_in_number(
    runner: ModuleType, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ledger").write_bytes(bytes(4096))
    monkeypatch.setenv("CARTWHEEL_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("CARTWHEEL_QUEUE_SIZE", "2")
    monkeypatch.setenv("CARTWHEEL_QUEUE_SECONDS", "60")
    read, score = load(runner, run, "read_request"), load(runner, run, "recommend_score")
    first, second, third = read.execute([ask(ROWS, user_id=[["u1"]]) for _ in range(3)])
    assert third.error.code == "UNAVAILABLE"
    assert "Exceeds maximum queue size" in str(third.error)
    (other,) = read.execute([ask(("item_id_row", "k_row", "asked"), item_id=[["1003"]])])
    assert other.error is None, "another kind of request waits by itself"
    rows = rows_of(second)
    assert score.execute([ask(("items",), **{name: rows[name] for name in score._types})])[0].error is None
    assert read.execute([ask(ROWS, user_id=[["u1"]])])[0].error is None, "none waits, for the first was given up or is done"
    assert values(first)["asked"].shape == (1, 2)


def test_what_has_waited_too_long_is_refused_and_waits_no_longer(
    runner: ModuleType, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ledger").write_bytes(bytes(4096))
    monkeypatch.setenv("CARTWHEEL_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("CARTWHEEL_QUEUE_SIZE", "1")
    monkeypatch.setenv("CARTWHEEL_QUEUE_SECONDS", "5")
    now = [10**12]
    monkeypatch.setattr(runner.time, "monotonic_ns", lambda: now[0])
    read, score = load(runner, run, "read_request"), load(runner, run, "recommend_score")

    def ask_score(rows: dict[str, np.ndarray]) -> Any:
        return score.execute([ask(("items",), **{name: rows[name] for name in score._types})])[0]

    (rows,) = handed_on(runner, run, ask(ROWS, user_id=[["u1"]]))
    now[0] += 5 * 10**9
    assert ask_score(rows).error is None, "just within"
    now[0] += 1
    assert ask_score(rows).error.code == "UNAVAILABLE"
    assert "Request timeout expired" in str(ask_score(rows).error)
    asked = [ask(ROWS, user_id=[["u1"]]) for _ in range(2)]
    one, refused = read.execute(asked)
    assert (one.error, refused.error.code) == (None, "UNAVAILABLE")
    now[0] += 5 * 10**9
    assert read.execute(asked[:1])[0].error is None, "what has waited so long is refused anyway"


@pytest.mark.parametrize("slot", [-1, -512, 512])
def test_a_slot_that_the_ledger_does_not_have_is_written_nowhere(
    runner: ModuleType, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slot: int
) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_bytes(bytes(4096))
    monkeypatch.setenv("CARTWHEEL_LEDGER", str(ledger))
    score = load(runner, run, "recommend_score")
    (rows,) = handed_on(runner, run, ask(ROWS, user_id=[["u1"]]))
    before = ledger.read_bytes()
    rows["asked"] = np.array([[rows["asked"][0, 0], slot]], np.int64)
    assert score.execute([ask(("items",), **{name: rows[name] for name in score._types})])[0].error is None
    assert ledger.read_bytes() == before
