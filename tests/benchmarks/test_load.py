"""The load generator at real gRPC servers that refuse: it counts what is refused, and ends in a sentence at anything else."""

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from benchmarks import load, serving
from benchmarks.load import Measured, Request, ask, measure
from cartwheel.core.errors import ParityError, ServerError


def answer(*scores: float) -> bytes:
    """The items i0, i1, ... with these scores, as a server sends them."""
    items = b"".join(struct.pack("<I2s", 2, b"i%d" % place) for place in range(len(scores)))
    message = service_pb2.ModelInferResponse(model_name="recommend")
    for name, content in (("items", items), ("scores", np.array(scores, np.float32).tobytes())):
        message.outputs.add(name=name)
        message.raw_output_contents.append(content)
    return bytes(message.SerializeToString())


PAYLOADS = [Request("u").serialised("recommend")]


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Starts servers that answer with the given statuses in turn, and the same items, and returns their addresses."""
    servers = []

    def start(*statuses: grpc.StatusCode, scores: Sequence[float] = (2.0, 1.0)) -> str:
        turn = itertools.cycle(statuses)

        def infer(_: bytes, context: grpc.ServicerContext) -> bytes:
            status = next(turn)
            if status is not grpc.StatusCode.OK:
                context.abort(status, "Request timeout expired")
            return answer(*scores)

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
    others = (serving.GATEWAY, *serving.PEERS)
    figures = [(1, {serving.OURS: measured, **{side: Measured([4.0], seconds=1.0) for side in others}})]
    assert "MISSED (-)" in serving.verdict(figures)
    assert serving.figures_table(figures).row_count == 6
    told = serving.plain_figures(*figures[0])["recommend"]
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
    assert [each.items for each in ask(answering(*refused, grpc.StatusCode.OK), PAYLOADS * 2)] == [["i0", "i1"]] * 2
    monkeypatch.setattr(load, "_ASK_SECONDS", 0.2)
    with pytest.raises(ServerError, match=r"refused one question for 0\.2 s, at last with: Request timeout expired"):
        ask(answering(*refused), PAYLOADS)


def test_systems_that_answer_otherwise_are_refused(answering: Callable[..., str]) -> None:
    ours, same, other = (answering(grpc.StatusCode.OK, scores=(2.0, second)) for second in (1.0, 1.00001, 1.1))
    questions = [Request("u"), Request("v")]
    addresses = {serving.OURS: ours, **dict.fromkeys((serving.GATEWAY, *serving.PEERS), same)}
    assert serving.check_answers(addresses, questions) == pytest.approx(1e-5, rel=0.1)
    for peer, name in serving.PEERS.items():
        with pytest.raises(ParityError, match=f"Cartwheel and the {name}, disagree: question 0, place 1: score 1.0 against 1.1"):
            serving.check_answers({**addresses, peer: other}, questions)
