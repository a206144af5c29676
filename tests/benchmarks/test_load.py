"""The load generator at real gRPC servers that refuse: it counts what is refused, and ends in a sentence at anything else."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tritonclient.grpc import service_pb2

from benchmarks import load, serving
from benchmarks.load import Measured, Request, ask, measure
from cartwheel.errors import ServerError

ANSWER = service_pb2.ModelInferResponse(model_name="recommend")
for name in ("items", "scores"):
    ANSWER.outputs.add(name=name)
    ANSWER.raw_output_contents.append(b"")
PAYLOADS = [Request("u").serialised("recommend")]


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Starts servers that answer with the given statuses in turn, and returns their addresses."""
    servers = []

    def start(*statuses: grpc.StatusCode) -> str:
        turn = itertools.cycle(statuses)

        def infer(_: bytes, context: grpc.ServicerContext) -> bytes:
            status = next(turn)
            if status is not grpc.StatusCode.OK:
                context.abort(status, "Request timeout expired")
            return bytes(ANSWER.SerializeToString())

        server = grpc.server(ThreadPoolExecutor(2))
        method = grpc.unary_unary_rpc_method_handler(infer)
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


@pytest.mark.parametrize("status", sorted(load.REFUSED, key=str))
def test_what_is_refused_is_counted_beside_what_is_answered(answering: Callable[..., str], status: grpc.StatusCode) -> None:
    measured = measure(answering(grpc.StatusCode.OK, status), PAYLOADS, concurrency=2, seconds=0.3, warm_up=0.05)
    assert measured.refused > 0
    assert abs(len(measured.milliseconds) - measured.refused) <= 3, "every second one is refused"
    assert measured.throughput == pytest.approx(len(measured.milliseconds) / measured.seconds)


def test_a_server_that_refuses_everything_has_no_latency(answering: Callable[..., str]) -> None:
    measured = measure(answering(grpc.StatusCode.UNAVAILABLE), PAYLOADS, concurrency=2, seconds=0.2, warm_up=0.0)
    assert (len(measured.milliseconds), measured.throughput) == (0, 0.0)
    assert measured.refused >= 2
    figures = [(1, {serving.OURS: measured, **{peer: Measured([4.0], seconds=1.0) for peer in serving.PEERS}})]
    assert "MISSED (-)" in serving._verdict(figures)
    assert serving._table(figures).row_count == 5
    told = serving._plain(*figures[0])["recommend"]
    assert (told["p99_ms"], told["requests"], told["refused"]) == (None, 0, measured.refused)


def test_any_other_status_is_an_error_in_a_sentence(answering: Callable[..., str]) -> None:
    address = answering(grpc.StatusCode.INTERNAL)
    message = f"{address} answered INTERNAL: Request timeout expired See the server's log."
    with pytest.raises(ServerError) as load_error:
        measure(address, PAYLOADS, concurrency=2, seconds=0.2, warm_up=0.0)
    with pytest.raises(ServerError) as question_error:
        ask(address, PAYLOADS)
    assert str(load_error.value) == str(question_error.value) == message


def test_a_question_that_is_refused_is_asked_again(answering: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert [list(answer.items) for answer in ask(answering(*refused, grpc.StatusCode.OK), PAYLOADS * 2)] == [[], []]
    monkeypatch.setattr(load, "_ASK_SECONDS", 0.2)
    with pytest.raises(ServerError, match=r"refused one question for 0\.2 s, at last with: Request timeout expired"):
        ask(answering(*refused), PAYLOADS)
