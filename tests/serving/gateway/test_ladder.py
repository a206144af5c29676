"""The ladder of ``recommend``: what is answered without Triton, and a gateway whose Triton hangs."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_gateway import Gateway, infer, refusal, rpc, texts, until
from tritonclient.grpc import InferResult, service_pb2

from cartwheel.core.errors import RunError
from serving.contract.fallback import FILE, FallbackTables
from serving.gateway.ladder import CATEGORY, NEIGHBOURS, POPULAR, RUNGS, Ladder
from serving.gateway.refusal import RefusedError
from serving.gateway.tensor_values import add_tensor
from serving.rules.packed import packed

IDS = tuple(b"%d" % number for number in range(12))


def tables(**changed: Any) -> FallbackTables:
    """Popularity falls with the number; items 0 to 5 are of category 1, the others of none; after 11 come 9, 8 and 2."""
    neighbours = np.full((12, 3), -1, np.int32)
    weights = np.zeros((12, 3), np.float32)
    neighbours[11], weights[11] = [9, 8, 2], [0.9, 0.5, 0.1]
    neighbours[10], weights[10] = [8, 11, -1], [0.8, 0.2, 0]
    categories = np.where(np.arange(12) < 6, 1, 0).astype(np.int32)
    given = {
        "popularity": np.arange(12, 0, -1, dtype=np.float32),
        "categories": categories,
        "neighbours": neighbours,
        "weights": weights,
    }
    return FallbackTables(**{"ids": IDS, **given, "leaves_recents_out": True, "max_k": 10, **changed})


def ids(ladder: Ladder, recents: Any = (), exclude: Any = (), k: int = 4) -> list[tuple[str, str, str]]:
    found = ladder.recommend([b"%d" % each for each in recents], [b"%d" % each for each in exclude], k)
    return [(IDS[item.index].decode(), item.rung, item.because.decode()) for item in found]


def test_rungs_follow_each_other_and_what_is_excluded_is_left_out() -> None:
    ladder = Ladder(tables())
    assert ids(ladder) == [("0", POPULAR, ""), ("1", POPULAR, ""), ("2", POPULAR, ""), ("3", POPULAR, "")]
    assert ids(ladder, [11]) == [("9", NEIGHBOURS, "11"), ("8", NEIGHBOURS, "11"), ("2", NEIGHBOURS, "11"), ("0", POPULAR, "")]
    assert ids(ladder, [11, 10], k=3) == [("8", NEIGHBOURS, "10"), ("9", NEIGHBOURS, "11"), ("2", NEIGHBOURS, "11")]
    assert ids(ladder, [3, 99], [0]) == [("1", CATEGORY, "3"), ("2", CATEGORY, "3"), ("4", CATEGORY, "3"), ("5", CATEGORY, "3")]
    assert ids(Ladder(tables(leaves_recents_out=False)), [3], k=2) == [("0", CATEGORY, "3"), ("1", CATEGORY, "3")]
    assert ids(Ladder(tables(leaves_recents_out=False)), [1], [0], k=1) == [("1", CATEGORY, "1")]


some = st.lists(st.integers(0, 14), max_size=15)


@settings(deadline=None)
@given(recents=some, exclude=some, k=st.integers(1, 10))
def test_an_answer_is_distinct_allowed_and_as_long_as_can_be(recents: list[int], exclude: list[int], k: int) -> None:
    found = ids(Ladder(tables()), recents, exclude, k)
    items = [int(item) for item, _, _ in found]
    allowed = set(range(12)) - set(recents) - set(exclude)
    assert set(items) <= allowed
    assert len(set(items)) == len(items) == min(k, len(allowed))
    assert [RUNGS.index(rung) for _, rung, _ in found] == sorted(RUNGS.index(rung) for _, rung, _ in found)
    assert all((int(because) in recents) if because else rung == POPULAR for _, rung, because in found)


def test_the_file_keeps_the_tables_and_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    kept = tables(ids=("é".encode(), *IDS[1:]))
    for name in ("one", "two"):
        kept.write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read = FallbackTables.read(tmp_path / "one")
    assert (read.ids, read.leaves_recents_out, read.max_k) == (kept.ids, True, 10)
    for name in ("popularity", "categories", "neighbours", "weights"):
        assert np.array_equal(getattr(read, name), getattr(kept, name))
    (tmp_path / "one").write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot be read"):
        FallbackTables.read(tmp_path / "one")


def test_a_request_of_tensors_is_answered_in_tensors() -> None:
    request = infer("recommend", user_id=["u1"], recent_items=["11", ""], exclude=["9"])
    request.id = "mine"
    request.inputs.add(name="k", datatype="INT32", shape=[1])
    request.raw_input_contents.append(np.int32(10).tobytes())
    raw, rung = Ladder(tables()).answer(request.SerializeToString())
    answer = service_pb2.ModelInferResponse.FromString(raw)
    result = InferResult(answer)
    assert (rung, answer.id, answer.model_name) == (NEIGHBOURS, "mine", "recommend")
    assert result.as_numpy("items").tolist() == [[b"8", b"2", b"0", b"1", b"3", b"4", b"5", b"6", b"7", b"10"]]
    assert result.as_numpy("reason_item")[0, :3].tolist() == [b"11", b"11", b""]
    assert result.as_numpy("reason")[0, :3].tolist() == [1, 1, 0]
    assert result.as_numpy("scores")[0].tolist() == [-float(place) for place in range(1, 11)]


def test_what_rules_bar_is_barred_on_every_rung() -> None:
    for recents in ([], ["3"], ["11"]):
        request = infer("recommend", user_id=["u1"], recent_items=recents)
        barred = np.isin(np.arange(12), [0, 2, 4, 8, 9])
        add_tensor(request, "barred", "INT32", packed(barred)[None], raw=True)
        add_tensor(request, "k", "INT32", np.array([10], np.int32), raw=True)
        answer = service_pb2.ModelInferResponse.FromString(Ladder(tables()).answer(request.SerializeToString())[0])
        found = [int(item) for item in InferResult(answer).as_numpy("items")[0] if item]
        assert sorted([*found, *map(int, recents)]) == [1, 3, 5, 6, 7, 10, 11]


def test_values_in_the_message_are_read_and_only_the_wanted_outputs_given() -> None:
    request = service_pb2.ModelInferRequest(model_name="recommend")
    for name, values in (("user_id", [b"a", b"b"]), ("exclude", [b"0", b"1"])):
        request.inputs.add(name=name, datatype="BYTES", shape=[2, 1]).contents.bytes_contents.extend(values)
    request.inputs.add(name="k", datatype="INT32", shape=[1]).contents.int_contents.append(2)
    request.outputs.add(name="items")
    answer = service_pb2.ModelInferResponse.FromString(Ladder(tables()).answer(request.SerializeToString())[0])
    assert [output.name for output in answer.outputs] == ["items"]
    assert InferResult(answer).as_numpy("items").tolist() == [[b"1", b"2"], [b"0", b"2"]]


@settings(deadline=None, max_examples=100)
@given(
    raws=st.lists(
        st.binary(max_size=12) | st.lists(st.sampled_from(["1", "", "é"]), max_size=3).map(texts), min_size=3, max_size=3
    ),
    shapes=st.lists(st.lists(st.integers(-2, 3), max_size=3), min_size=3, max_size=3),
    k=st.binary(max_size=5),
)
def test_any_tensors_are_answered_or_refused(raws: list[bytes], shapes: list[list[int]], k: bytes) -> None:
    request = service_pb2.ModelInferRequest(model_name="recommend")
    for name, raw, shape in zip(("user_id", "recent_items", "exclude"), raws, shapes, strict=True):
        request.inputs.add(name=name, datatype="BYTES", shape=shape)
        request.raw_input_contents.append(raw)
    request.inputs.add(name="k", datatype="INT32", shape=[1])
    request.raw_input_contents.append(k)
    serialised, ladder = request.SerializeToString(), Ladder(tables())
    try:
        raw, rung = ladder.answer(serialised)
    except RefusedError:
        with pytest.raises(RefusedError, match="The input"):
            ladder.answer(serialised)
        return
    assert rung in RUNGS
    assert len(InferResult(service_pb2.ModelInferResponse.FromString(raw)).as_numpy("items")) == shapes[0][0]


def test_an_export_holds_the_tables(run: Path) -> None:
    held = FallbackTables.read(run / "repository" / FILE)
    assert len(held.ids) == 50
    assert held.neighbours.shape == held.weights.shape
    assert (held.neighbours >= 0).any()
    assert ((held.neighbours >= 0) == (held.weights > 0)).all()
    assert (np.diff(held.weights, axis=1) <= 0).all()


@pytest.fixture(scope="module")
def hanging(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, int]]:
    """A gateway whose Triton is stopped, and Triton's process."""
    folder = tmp_path_factory.mktemp("hanging")
    own = Path(shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns("server.json", "logs", "live")))
    running = Gateway(own, folder, ladder_seconds=0.5, hang_seconds=60.0, max_under_way=8, max_waiting=4, queue_seconds=60.0)
    [triton] = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/comm")
        if path.read_text() == "tritonserver\n" and str(own).encode() in path.with_name("cmdline").read_bytes()
    ]
    try:
        with httpx.Client(base_url=f"http://{running.endpoint.http}") as http:
            until(lambda: http.post("/v1/recommend", json={"recent_items": [1003]}).json()["rung"] == "ranked")
        os.kill(triton, signal.SIGSTOP)
        yield running, triton
    finally:
        os.kill(triton, signal.SIGCONT)
        running.end()


def test_where_triton_hangs_a_lower_rung_answers_in_time(hanging: tuple[Gateway, int]) -> None:
    gateway, _ = hanging
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}", timeout=20) as http:
        begun = time.monotonic()
        answers = [http.post("/v1/recommend", json={"user_id": "u1", "recent_items": [1003], "k": 7}) for _ in range(15)]
        assert time.monotonic() - begun < 15 * 1.0, "no rung hangs on a broken one, nor do places run out"
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["rung"] for answer in answers} <= {NEIGHBOURS, CATEGORY}
        assert {len(answer.json()["items"]) for answer in answers} == {7}
        stranger = http.post("/v1/recommend", json={}).json()
        assert (stranger["rung"], stranger["items"][0]["reason"]) == (POPULAR, "popular")
        strict = http.post("/v1/recommend", json={"ranked_only": True}, headers={"x-timeout-ms": "300"})
        assert strict.status_code in {503, 504}
        assert http.post("/v1/recommend", json={"k": 0}).status_code == 422
        assert http.post("/v1/cart", json={"cart_items": [1003]}, headers={"x-timeout-ms": "300"}).status_code in {503, 504}
        assert f'cartwheel_rungs_total{{ensemble="recommend",rung="{POPULAR}"}} 1.0' in http.get("/metrics").text
    until(lambda: any(line.get("rung") == POPULAR for line in gateway.log))


def test_kserve_gets_a_lower_rung_only_where_it_asks_for_it(hanging: tuple[Gateway, int]) -> None:
    gateway, _ = hanging
    request = infer("recommend", user_id=["u1"])
    ladder = infer("recommend", {"ladder": True}, user_id=["u1"])
    with grpc.insecure_channel(gateway.endpoint.grpc) as channel:
        strict = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        assert refusal(lambda: strict(request.SerializeToString(), timeout=1.0))[0] in {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
        answer = rpc(channel, "ModelInfer", ladder, service_pb2.ModelInferResponse)
        assert answer.parameters["rung"].string_param == POPULAR
        begun = time.monotonic()
        short = service_pb2.ModelInferResponse.FromString(strict(ladder.SerializeToString(), timeout=0.4))
        assert time.monotonic() - begun < 0.4, "before the caller's own deadline"
        assert short.parameters["rung"].string_param == POPULAR
        wrong = infer("recommend", {"ladder": 1}, user_id=["u1"])
        assert refusal(lambda: rpc(channel, "ModelInfer", wrong)) == (
            "INVALID_ARGUMENT",
            "The parameter 'ladder' of the request is no bool; give true or false.",
        )


def test_once_triton_answers_again_so_does_the_highest_rung(hanging: tuple[Gateway, int]) -> None:
    gateway, triton = hanging
    os.kill(triton, signal.SIGCONT)
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}", timeout=20) as http:
        until(lambda: http.post("/v1/recommend", json={}).json()["rung"] == "ranked")
