"""The repository on the embedded Triton: it loads, answers as in this process, and refuses in sentences."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_run import SyntheticRun
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from serving.client.client import Client
from serving.local import LocalRepository
from serving.server.server import EmbeddedServer

DTYPES = {"timestamp": ("INT64", np.int64), "k": ("INT32", np.int32), "diversity": ("FP32", np.float32)}
SHOP = SyntheticRun(Path("unused"), items=50, users=20, seed=7, cart=True, dimension=8, recents=5)


def tensor(name: str, value: Any) -> InferInput:
    kind, dtype = DTYPES.get(name, ("BYTES", object))
    array = np.asarray(value, dtype=dtype)
    if kind == "BYTES":
        texts = [text.encode() if isinstance(text, str) else text for text in array.ravel()]
        array = np.array([*texts, None], dtype=object)[:-1].reshape(array.shape)
    made = InferInput(name, list(array.shape), kind)
    made.set_data_from_numpy(array)
    return made


def ask(triton: InferenceServerClient, ensemble: str, **inputs: Any) -> dict[str, np.ndarray]:
    result = triton.infer(ensemble, [tensor(name, value) for name, value in inputs.items()])
    answer = {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}
    for name, value in answer.items():
        if value.dtype == object:
            answer[name] = np.array([text.decode() for text in value.ravel()], dtype=object).reshape(value.shape)
    return answer


def assert_as_local(local: LocalRepository, triton: InferenceServerClient, ensemble: str, **inputs: Any) -> None:
    expected, answer = local.ask(ensemble, **inputs), ask(triton, ensemble, **inputs)
    assert set(answer) == set(expected)
    for name, value in expected.items():
        if value.dtype == object:
            assert answer[name].tolist() == value.tolist()
        else:
            np.testing.assert_allclose(answer[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("ensemble", "inputs"),
    [
        ("recommend", {"user_id": [["u1"]]}),
        ("recommend", {"user_id": [[""]], "k": [100]}),
        ("recommend", {"user_id": [[""]], "recent_items": [["1003", "unknown", "1003"]], "k": [3]}),
        ("recommend", {"user_id": [[""]], "exclude": [["1001", "1002"]], "diversity": [0.5]}),
        (
            "recommend",
            {"user_id": [["u1"], ["x"]], "recent_items": [["1003"], [""]], "timestamp": [[0], [1_700_100_000_000_000]]},
        ),
        ("cart", {"cart_items": [["1003", "", "unknown"]], "user_id": [["u1"]], "recent_items": [["1010"]], "k": [4]}),
        ("cart", {"cart_items": [[""]], "timestamp": [[0]]}),
        ("similar_items", {"item_id": [["1003"], ["unknown"]], "k": [5]}),
        ("similar_items", {"item_id": [["1003"]]}),
    ],
)
def test_triton_answers_as_this_process(
    local: LocalRepository, triton: InferenceServerClient, ensemble: str, inputs: dict[str, Any]
) -> None:
    assert_as_local(local, triton, ensemble, **inputs)


def test_requests_side_by_side_do_not_mix(local: LocalRepository, triton: InferenceServerClient) -> None:
    def one(number: int) -> None:
        rng = np.random.default_rng(number)
        given: dict[str, Any] = {"user_id": [[f"u{number % 25}"]], "k": [5]}
        if number % 2:
            given["recent_items"] = [rng.choice(SHOP.item_ids, rng.integers(1, 8)).tolist()]
        if number % 3 == 0:
            assert_as_local(local, triton, "cart", cart_items=[rng.choice(SHOP.item_ids, rng.integers(1, 6)).tolist()], **given)
        else:
            assert_as_local(
                local, triton, "recommend", exclude=[rng.choice(SHOP.item_ids, rng.integers(1, 20)).tolist()], **given
            )

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(120)))


@pytest.mark.parametrize(
    ("ensemble", "inputs", "message"),
    [
        ("recommend", {"user_id": [["u1"]], "k": [0]}, "The input 'k' holds 0; ask for 1 to 100 items"),
        ("recommend", {"user_id": [["u1"]], "k": [-3]}, "The input 'k' holds -3"),
        ("recommend", {"user_id": [["u1"]], "k": [101]}, "The input 'k' holds 101"),
        ("recommend", {"user_id": [["u1"]], "diversity": [-1]}, "'diversity' holds -1.0; give a number of at least 0"),
        ("recommend", {"user_id": [["u1"]], "timestamp": [[1_700_000_000]]}, "give Unix microseconds"),
        ("recommend", {"user_id": [["u1", "u2"]]}, r"unexpected shape for input 'user_id'.*Expected \[-1,1\], got \[1,2\]"),
        ("recommend", {"user_id": ["u1"]}, "unexpected shape for input 'user_id'"),
        (
            "recommend",
            {"user_id": [["u1"], ["u2"]], "exclude": [["1"]]},
            r"differ in their number of rows: {'user_id': 2, 'exclude': 1}",
        ),
        ("recommend", {"user_id": [["u1"]] * 65}, r"'user_id' has 65 rows; .* at most 64 at once \(serve\.max_rows\)"),
        ("similar_items", {"k": [3]}, r"The input 'item_id' is missing; give it with shape \[B, 1\]"),
    ],
)
def test_a_wrong_request_is_refused_in_a_sentence(
    triton: InferenceServerClient, ensemble: str, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as refused:
        ask(triton, ensemble, **inputs)
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert np.isfinite(ask(triton, "recommend", user_id=[["u1"]])["scores"]).all()


@pytest.mark.parametrize("inputs", [{}, {"k": [3]}, {"recent_items": [["1003"]]}, {"timestamp": [[0]], "diversity": [0.5]}])
def test_who_gives_no_user_id_is_answered_as_a_stranger(
    local: LocalRepository, triton: InferenceServerClient, inputs: dict[str, Any]
) -> None:
    answer = ask(triton, "recommend", **inputs)
    assert answer["items"].tolist() == local.ask("recommend", user_id=[[""]], **inputs)["items"].tolist()


@pytest.mark.parametrize("inputs", [{"user_id": [["u1"]]}, {"user_id": [["u1"]], "cart_items": np.empty((1, 0), object)}])
def test_a_cart_without_lines_is_an_empty_cart(
    local: LocalRepository, triton: InferenceServerClient, inputs: dict[str, Any]
) -> None:
    answer, empty = ask(triton, "cart", **inputs), local.ask("cart", user_id=[["u1"]], cart_items=[[""]])
    assert answer["cart_probability"].tolist() == [[0.0]]
    assert answer["items"].tolist() == empty["items"].tolist()
    assert np.isnan(answer["line_probability"]).all()


def test_bytes_that_are_no_text_are_an_unknown_id(local: LocalRepository, triton: InferenceServerClient) -> None:
    answer = ask(triton, "recommend", user_id=[[b"\xff\xfe\x00"]], recent_items=[[b"\xc3\x28"]], exclude=[[b"\x80"]])
    expected = local.ask("recommend", user_id=[["?"]], recent_items=[["?"]])
    assert answer["items"].tolist() == expected["items"].tolist()


def test_a_hundred_thousand_exclusions_are_answered(triton: InferenceServerClient) -> None:
    many = [[str(number) for number in range(1010, 101_010)]]
    answer = ask(triton, "recommend", user_id=[["nobody"]], exclude=many, k=[12])
    assert set(answer["items"][0].tolist()) == {*SHOP.item_ids[:10], ""}


def test_the_client_gives_ids_back_as_they_came(server: EmbeddedServer) -> None:
    with Client(server.endpoint.grpc) as client:
        assert client.metadata().item_id_type == "int64"
        items = client.recommend("u1", recent_items=[1003], k=3, timestamp="snapshot")
        assert all(isinstance(item.item_id, int) for item in items.items)
        assert client.similar_items(1003, k=2)
        assert 0 < client.cart([1003, 1004], user_id="u1", timestamp="snapshot").probability < 1
