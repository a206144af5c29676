"""``cartwheel serve`` on a real repository under what kills servers: it comes back by itself, says so, and stops when told to."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from serving.client.client import Client
from serving.server.endpoint import Endpoint

ROOT = Path(__file__).parents[3]
METHOD = "/inference.GRPCInferenceService/ModelInfer"


class Serve:
    """``cartwheel serve`` on a run, until it is told to stop."""

    def __init__(self, run: Path, output: Path, *options: str) -> None:
        self._run, self._output = run, output
        command = [sys.executable, "-m", "cartwheel.cli.main", "serve", str(run), "--grpc-port", "0", *options]
        with output.open("wb") as stream:
            self.process = subprocess.Popen(
                command, stdout=stream, stderr=stream, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        until(lambda: (run / "server.json").is_file() or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.said
        self.endpoint = Endpoint.read(run / "server.json")

    @contextlib.contextmanager
    def until_killed(self) -> Iterator[subprocess.Popen[bytes]]:
        """End it whatever happens: a test that fails would wait for it for ever."""
        with self.process:
            try:
                yield self.process
            finally:
                self.process.kill()

    @property
    def said(self) -> str:
        return self._output.read_text()

    def health(self, question: str = "ready") -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://{self.endpoint.health}/health/{question}", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def processes(self, name: str) -> list[int]:
        """Processes with that name that have this command among their ancestors."""
        parents, names = {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                head, _, tail = (folder / "stat").read_text(errors="replace").rpartition(")")
            except OSError:
                continue
            parents[int(folder.name)], names[int(folder.name)] = int(tail.split()[1]), head.partition("(")[2]
        below = [self.process.pid]
        for pid in below:
            below += [child for child, parent in parents.items() if parent == pid]
        return [pid for pid in below if names.get(pid) == name]

    @property
    def gateway(self) -> int:
        """Process of the gateway."""
        [found] = [
            pid
            for pid in self.processes("python")
            if b"serving.gateway" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        ]
        return found

    def recovered(self, restarts: int) -> None:
        """Wait until it has been started again so often and is ready, and ask it."""
        until(lambda: self.health()[1]["restarts"] >= restarts, 20)
        assert self.health("live")[0] == 200
        until(lambda: self.health()[0] == 200, 60)
        assert self.answer() == self.answer()

    def answer(self) -> Any:
        with Client(self.endpoint.grpc, timeout_seconds=30) as client:
            return client.recommend("u1", recent_items=[1003], k=3, timestamp="snapshot"), client.cart(
                [1003], timestamp="snapshot"
            )


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def serve(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    folder = tmp_path_factory.mktemp("recovery")
    served = Serve(Path(shutil.copytree(run, folder / "run")), folder / "output.txt")
    with served.until_killed():
        yield served


def request(model: str, **tensors: Any) -> Any:
    made = service_pb2.ModelInferRequest(model_name=model)
    for name, value in tensors.items():
        if name == "k":
            made.inputs.add(name=name, datatype="INT32", shape=[1])
            made.raw_input_contents.append(np.int32(value).tobytes())
        else:
            texts = [text.encode() for text in value]
            made.inputs.add(name=name, datatype="BYTES", shape=[1, len(texts)])
            made.raw_input_contents.append(b"".join(len(text).to_bytes(4, "little") + text for text in texts))
    return made


def some_request(rng: random.Random) -> bytes:
    items = [str(rng.randrange(1000, 1050)) for _ in range(rng.randrange(1, 6))]
    k = rng.choice([0, 1, 5, 50])
    made = rng.choice(
        [
            lambda: request("cart", cart_items=items, user_id=["u1"], k=k),
            lambda: request("cart", cart_items=items, recent_items=items, k=k),
            lambda: request("recommend", user_id=["u2"], exclude=items, k=k),
            lambda: request("similar_items", item_id=items[:1], k=k),
        ]
    )()
    content: bytes = made.SerializeToString()
    return content


def test_requests_that_are_cancelled_late_or_wrong_harm_nothing(serve: Serve) -> None:
    before, rng, codes = serve.answer(), random.Random(1), Counter()
    with grpc.insecure_channel(serve.endpoint.grpc) as channel:
        ask = channel.unary_unary(METHOD)
        for _ in range(60):
            calls = [ask.future(some_request(rng), timeout=rng.uniform(0.001, 0.05)) for _ in range(10)]
            for call in rng.sample(calls, 5):
                call.cancel()
            for call in calls:
                codes[call.exception().code().name if not call.cancelled() and call.exception() else "OK"] += 1
    assert set(codes) <= {"OK", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "UNAVAILABLE"}
    restarts = serve.health()[1]["restarts"]
    assert restarts <= 1, serve.said  # Triton's gRPC itself ends it once in some 30,000
    serve.recovered(restarts)
    assert serve.answer() == before


def test_a_dead_process_of_a_model_is_noticed_and_replaced(serve: Serve) -> None:
    before, restarts = serve.answer(), serve.health()[1]["restarts"]
    os.kill(serve.processes("triton_python_b")[0], signal.SIGKILL)
    with Client(serve.endpoint.grpc, timeout_seconds=60, retries=100) as client:
        # Whatever the server says of it meanwhile, the client asks again until there is an answer.
        assert client.cart([1003], user_id="u1").completions
        assert client.similar_items(1003)
        assert client.recommend("u1").items
    serve.recovered(restarts + 1)
    assert serve.answer() == before
    assert "The process that computes " in serve.said
    assert serve.said.count("ready again after ") == restarts + 1


def test_processes_that_hang_make_the_server_unready_and_are_replaced(serve: Serve) -> None:
    before, restarts = serve.answer(), serve.health()[1]["restarts"]
    for pid in serve.processes("triton_python_b"):
        os.kill(pid, signal.SIGSTOP)
    until(lambda: serve.health()[0] == 503)
    serve.recovered(restarts + 1)
    assert serve.answer() == before


def deadly() -> bytes:
    """A request that ends Triton 2.51 with signal 8."""
    made = request("recommend", user_id=["u1"])
    made.outputs.add(name="items").parameters["classification"].int64_param = 2
    return bytes(made.SerializeToString())


def test_a_request_that_ends_triton_ends_nothing_else(run: Path, tmp_path: Path) -> None:
    serve = Serve(Path(shutil.copytree(run, tmp_path / "run")), tmp_path / "output.txt", "--gateway", "off")
    with serve.until_killed():
        before = serve.answer()
        with grpc.insecure_channel(serve.endpoint.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(METHOD)(deadly(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        serve.recovered(1)
        assert serve.answer() == before
        assert "Triton ended by itself (signal 8, SIGFPE)" in serve.said, serve.said


def test_a_request_that_ends_triton_does_not_pass_the_gateway(serve: Serve) -> None:
    triton, restarts = serve.processes("tritonserver"), serve.health()[1]["restarts"]
    with grpc.insecure_channel(serve.endpoint.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(METHOD)(deadly(), timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'classification'" in refused.value.details()
    assert serve.answer()
    assert (serve.processes("tritonserver"), serve.health()[1]["restarts"]) == (triton, restarts)


def test_a_gateway_that_is_killed_is_started_again_at_the_same_address(serve: Serve) -> None:
    before, restarts, triton = serve.answer(), serve.health()[1]["restarts"], serve.processes("tritonserver")
    os.kill(serve.gateway, signal.SIGKILL)
    serve.recovered(restarts + 1)
    assert serve.answer() == before
    assert serve.processes("tritonserver") == triton
    assert "The gateway ended by itself (signal 9, SIGKILL); restarting it." in serve.said


def test_when_told_to_stop_it_answers_or_refuses_and_ends_soon(serve: Serve) -> None:
    codes: Counter[str] = Counter()
    honest = request("cart", cart_items=["1003"], user_id=["u1"]).SerializeToString()
    unready: list[bool] = []
    with grpc.insecure_channel(serve.endpoint.grpc) as channel:
        ask = channel.unary_unary(METHOD)
        for future in [ask.future(some_request(random.Random(seed)), timeout=0.004) for seed in range(100)]:
            future.exception()  # Triton loses count of some of them
        calls = [ask.future(honest, timeout=20) for _ in range(20)]
        serve.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        while serve.process.poll() is None:
            calls.append(ask.future(honest, timeout=20))
            try:
                unready.append(serve.health()[0] == 503)
            except OSError:
                unready.append(True)
            time.sleep(0.01)
            assert time.monotonic() - begun < 15, "long before the 30 s that Triton would wait for the lost ones"
        codes.update("OK" if (error := call.exception()) is None else error.code().name for call in calls)
    assert serve.process.returncode == 0
    assert "UNAVAILABLE" in codes
    assert set(codes) <= {"OK", "UNAVAILABLE"}
    assert unready[-1]
