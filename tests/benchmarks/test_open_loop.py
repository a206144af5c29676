"""The open loop at real gRPC servers: it asks on while a server stands still, and counts the wait from the arrival."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from benchmarks import open_loop
from benchmarks.load import measure
from benchmarks.open_loop import Arrivals, Served, arrivals
from cartwheel.core.errors import ServerError

RATE, SECONDS = 100.0, 1.5


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts servers that answer with what a function gives."""
    servers = []

    def start(answer: Callable[[grpc.ServicerContext], bytes], threads: int = 4) -> str:
        server = grpc.server(ThreadPoolExecutor(threads))
        method = grpc.unary_unary_rpc_method_handler(lambda _request, context: answer(context))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": method}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


def test_arrivals_are_a_poisson_process() -> None:
    found = arrivals(200.0, 50.0, seed=1)
    gaps = np.diff(found)
    assert abs(len(found) - 10_000) < 4 * 100
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05), "exponential"
    assert np.array_equal(found, arrivals(200.0, 50.0, seed=1))
    assert found[-1] < 50


def test_a_pause_of_the_server_is_seen_by_all_who_arrived_in_it(serve: Callable[..., str]) -> None:
    """A closed loop, which waits, sees the same pause once."""
    pause, begun = 0.5, [0.0]
    lock = threading.Lock()

    def answer(_context: grpc.ServicerContext) -> bytes:
        with lock:
            begun[0] = begun[0] or time.monotonic()
            since = time.monotonic() - begun[0]
            if 0.4 < since < 0.4 + pause:
                time.sleep(0.4 + pause - since)
        return b""

    opened = open_loop.run(serve(answer, 64), [b""], RATE, SECONDS, deadline=1.0, seed=0)
    assert opened.refused == 0
    slow = [each for each in opened.milliseconds if each > 50]
    assert len(slow) > 0.5 * RATE * pause, "all that arrived meanwhile"
    assert opened.percentile(95) > 100
    begun[0] = 0.0
    closed = measure(serve(answer), [b""], concurrency=1, seconds=SECONDS, warm_up=0.0)
    assert sum(each > 50 for each in closed.milliseconds) <= 2
    assert closed.percentile(95) < 50


def test_refusals_are_counted_and_late_answers_are_not_in_time(serve: Callable[..., str]) -> None:
    address = serve(lambda context: b"")
    quick = open_loop.run(address, [b""], RATE, 0.5, deadline=5.0, seed=3)
    assert quick.in_time == pytest.approx(len(quick.milliseconds) / 0.5)
    found = open_loop.run(serve(lambda context: _once(context)), [b""], RATE, 0.5, deadline=5.0, seed=3)
    assert found.refused > 0
    assert found.refused + len(found.milliseconds) == len(arrivals(RATE, 0.5, 3))
    assert Arrivals(10, 2.0, [5.0, 5_000.0], deadline=1_000.0).in_time == 0.5


_TURN = iter(range(1_000_000))


def _once(context: grpc.ServicerContext) -> bytes:
    number = next(_TURN)
    if number % 3 == 1:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
    return b""


def test_any_other_status_is_an_error_in_a_sentence(serve: Callable[..., str]) -> None:
    turn = iter(range(1_000_000))

    def answer(context: grpc.ServicerContext) -> bytes:
        if next(turn) > 10:
            context.abort(grpc.StatusCode.INTERNAL, "broken")
        return b""

    with pytest.raises(ServerError, match="answered INTERNAL: broken"):
        open_loop.run(serve(answer), [b""], RATE, 0.5, deadline=1.0, seed=0)


def test_what_is_kept_is_of_the_peak() -> None:
    levels = {
        0.9: Arrivals(90, 1.0, [1.0] * 90),
        1.2: Arrivals(120, 1.0, [1.0] * 100),
        2.0: Arrivals(200, 1.0, [1.0] * 70, refused=130),
    }
    served = Served(100.0, levels)
    assert served.kept == pytest.approx(0.7)
    assert "MISSED" in open_loop.verdict({"it": served})
    assert open_loop.table({"it": served}).row_count == 3
    assert open_loop.plain(served)["levels"]["2"]["refused"] == 130


def test_a_server_is_asked_at_rising_shares_of_its_capacity(serve: Callable[..., str]) -> None:
    def answer(_context: grpc.ServicerContext) -> bytes:
        time.sleep(0.01)
        return b""

    found = open_loop.rising(serve(answer, 2), [b""], 0.6, 1.0, levels=(0.25, 0.5))
    assert 100 < found.capacity <= 220
    assert [one.rate for one in found.levels.values()] == pytest.approx([found.capacity / 4, found.capacity / 2])
    assert all(one.refused == 0 and one.milliseconds for one in found.levels.values())
