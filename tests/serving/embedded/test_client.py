"""Both clients against a real Triton: answers, deadlines, retries and errors."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from cartwheel.core.errors import ServerError, UsageError
from serving.client.answers import CartLine, Health, Metadata, Reason
from serving.client.async_client import AsyncClient
from serving.client.client import Client
from serving.client.requests import RecommendRequest
from serving.server.server import EmbeddedServer
from serving.settings import ServeSettings


class AsyncShop:
    """The asyncio client, each call run to its end, so that one test serves for both clients."""

    def __init__(self, address: str, **options: Any) -> None:
        self._client = AsyncClient(address, **options)
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *given, **options: self._loop.run_until_complete(getattr(self._client, name)(*given, **options))

    def __enter__(self) -> AsyncShop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.close()


@pytest.fixture(params=[Client, AsyncShop], ids=["sync", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Any:
    """How to make a client of either kind."""
    return request.param


@pytest.fixture
def shop(connect: Any, server: EmbeddedServer) -> Iterator[Any]:
    with connect(server.grpc_address) as client:
        yield client


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, Any]:
        public = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
        return {name: list(inspect.signature(value).parameters.values()) for name, value in public.items()}

    assert methods(Client) == methods(AsyncClient)


def test_a_known_user_gets_typed_items_with_the_shops_ids(shop: Any) -> None:
    answer = shop.recommend(7, k=3)
    assert answer.user_id == 7
    assert answer.item_ids == (101, 102, 103)
    assert [item.score for item in answer] == pytest.approx([1, 1 / 2, 1 / 3])
    assert answer.items[0].reason is Reason.TASTE
    assert (answer.items[0].because_of, answer.items[0].sentence) == (None, "It suits your taste.")


def test_recent_items_are_named_as_the_reason(shop: Any) -> None:
    first = shop.recommend(recent_items=[104, 103], k=2).items[0]
    assert (first.reason, first.because_of, first.sentence) == (Reason.RECENT_ITEM, 103, "Because you looked at 103.")


def test_an_empty_request_an_unseen_user_and_an_unseen_item_are_answered(shop: Any) -> None:
    for answer in (shop.recommend(), shop.recommend("never seen"), shop.recommend(recent_items=["never seen"])):
        assert len(answer) == 10
        assert answer.items[0].reason is Reason.POPULAR
        assert answer.items[0].sentence == "Popular in this shop."
    assert len(shop.similar_items("never seen", k=2)) == 2
    assert shop.cart(["never seen"]).lines == (CartLine("never seen", 0.25),)


def test_a_k_beyond_the_catalogue_gives_what_there_is(shop: Any) -> None:
    assert len(shop.recommend(k=20)) == 12
    assert len(shop.similar_items(101, k=20)) == 11


def test_many_visitors_are_asked_about_at_once(shop: Any) -> None:
    answers = shop.recommend_many([RecommendRequest(7), RecommendRequest(exclude=[101, 102]), RecommendRequest("x")], k=1)
    assert [(answer.user_id, answer.item_ids) for answer in answers] == [(7, (101,)), (None, (103,)), ("x", (101,))]


def test_a_cart_keeps_its_lines_and_is_completed(shop: Any) -> None:
    answer = shop.cart([102, "other"], user_id=7, recent_items=[101], k=2)
    assert answer.lines == (CartLine(102, 0.5), CartLine("other", 0.25))
    assert answer.probability == 0.75
    assert [item.item_id for item in answer.completions] == [101, 103]


def test_an_empty_cart_has_no_lines(shop: Any) -> None:
    answer = shop.cart([], k=1)
    assert (answer.lines, answer.probability) == ((), 0.0)


def test_health_and_metadata_are_told(shop: Any) -> None:
    assert shop.health() == Health(live=True, ready=True)
    assert shop.metadata() == Metadata("int64", "int64", max_k=20, catalogue_size=12)


def test_a_list_of_100_000_exclusions_is_honoured(shop: Any) -> None:
    exclude = [f"gone {number}" for number in range(99_990)] + list(range(101, 111))
    assert shop.recommend(exclude=exclude, k=10).item_ids == (111, 112)


@pytest.mark.parametrize("k", [0, 21])
def test_a_k_out_of_range_never_reaches_the_server(shop: Any, server: EmbeddedServer, k: int) -> None:
    before = questions(server, "recommend")
    with pytest.raises(UsageError, match=rf"k is {k}; this server answers 1 to 20 items"):
        shop.recommend(k=k)
    assert questions(server, "recommend") == before


def test_a_refusal_of_the_server_is_told_in_its_words_and_not_tried_again(server: EmbeddedServer) -> None:
    with Client(server.grpc_address) as client:
        client._metadata = Metadata("int64", "int64", max_k=1000)  # as if the server had allowed more a moment ago
        before = questions(server, "recommend")
        with pytest.raises(UsageError, match=r"refused the request: k is 500; ask for 1 to 20 items\.$"):
            client.recommend(k=500)
        assert questions(server, "recommend") == before + 1
        with pytest.raises(UsageError, match="this server answers 1 to 20"):
            client.recommend(k=500)


def test_a_server_that_breaks_while_answering_is_not_asked_again(shop: Any, server: EmbeddedServer) -> None:
    before = questions(server, "recommend")
    with pytest.raises(ServerError, match=r"broke while answering \(INTERNAL\): .*ValueError: the model broke\. See its log"):
        shop.recommend("break")
    assert questions(server, "recommend") == before + 1
    assert shop.recommend(k=1).items, "and it answers the next request"


def test_a_passed_deadline_is_an_error_and_is_kept(connect: Any, server: EmbeddedServer) -> None:
    with connect(server.grpc_address, timeout_seconds=0.3) as client:
        client.metadata()
        begun = time.monotonic()
        with pytest.raises(ServerError, match=r"did not answer within 0\.3 s\. Increase timeout_seconds"):
            client.recommend("sleep 0.8")
        assert time.monotonic() - begun < 0.6
    time.sleep(0.5)


def test_a_dead_server_is_an_error_within_the_deadline(connect: Any) -> None:
    address = f"127.0.0.1:{free_port()}"
    begun = time.monotonic()
    with connect(address, timeout_seconds=2.0, retries=2) as client:
        with pytest.raises(ServerError, match=rf"No server answers at {address} after 3 tries: .*refused.*cartwheel serve"):
            client.recommend()
        health = client.health()
    assert (health.live, health.ready) == (False, False)
    assert address in health.detail
    assert time.monotonic() - begun < 4.5


def test_a_host_that_does_not_exist_is_an_error(connect: Any) -> None:
    with connect("no-such-host.invalid:8001", retries=0) as client, pytest.raises(ServerError, match=r"after 1 try"):
        client.recommend()


def test_something_else_at_the_address_is_an_error(connect: Any, server: EmbeddedServer) -> None:
    with connect(server.http_address, retries=0) as client, pytest.raises(ServerError, match="No server answers"):
        client.recommend()


def test_a_silent_listener_is_an_error_at_the_deadline(connect: Any) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        connect(f"127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.3) as client,
        pytest.raises(ServerError, match=r"within 0\.3 s"),
    ):
        client.recommend()


def test_a_repository_without_the_ensemble_is_an_error(server: EmbeddedServer) -> None:
    with pytest.raises(triton.InferenceServerException, match="unknown model"):
        triton.InferenceServerClient(server.grpc_address).infer("churn", [])


def test_a_server_that_starts_late_or_is_replaced_is_found_again(write_repository: Any) -> None:
    port = free_port()
    settings = ServeSettings(grpc_port=port)
    with Client(f"127.0.0.1:{port}", timeout_seconds=30, retries=100) as client, ThreadPoolExecutor(1) as aside:
        early = aside.submit(client.recommend, k=2)
        with EmbeddedServer(write_repository("recommend", id_type="int64"), settings):
            assert early.result().item_ids == (101, 102)
        late = aside.submit(client.recommend, k=2)
        with EmbeddedServer(write_repository("recommend", id_type="string"), settings):
            assert late.result().item_ids == ("101", "102"), "the new server's run writes ids as strings"
            with pytest.raises(ServerError, match=r"does not have the requested model: .*unknown model: 'similar_items'"):
                client.similar_items("101")


def test_a_server_that_dies_while_answering_is_an_error(connect: Any, write_repository: Any) -> None:
    with EmbeddedServer(write_repository("recommend")) as dying, connect(dying.grpc_address, retries=1) as client:
        with pytest.raises(ServerError, match="No server answers"):
            client.recommend("kill the server")
        deadline = time.monotonic() + 10
        with pytest.raises(ServerError, match="signal 9"):
            check_until(dying, deadline)
    dying.log.unlink()


def test_threads_share_a_client(server: EmbeddedServer) -> None:
    with Client(server.grpc_address, timeout_seconds=60) as client:

        def ask(number: int) -> bool:
            k, gone = 1 + number % 5, 101 + number % 12
            expected = tuple(item for item in range(101, 113) if item != gone)[:k]
            return client.recommend(number, exclude=[gone], k=k).item_ids == expected

        with ThreadPoolExecutor(16) as threads:
            assert all(threads.map(ask, range(320)))
    assert threading.active_count() < 50


def test_tasks_share_a_client_and_a_cancelled_one_harms_none(server: EmbeddedServer) -> None:
    async def ask_all() -> list[tuple[Any, ...]]:
        async with AsyncClient(server.grpc_address, timeout_seconds=60) as client:
            doomed = asyncio.create_task(client.recommend("sleep 0.2"))
            await asyncio.sleep(0.05)
            doomed.cancel()
            answers = await asyncio.gather(
                *(client.recommend(exclude=[gone], k=1) for gone in itertools.chain(range(101, 113), [0]))
            )
            assert doomed.cancelled() or isinstance(
                (await asyncio.gather(doomed, return_exceptions=True))[0], asyncio.CancelledError
            )
            return [answer.item_ids for answer in answers]

    assert asyncio.run(ask_all()) == [(102,), *[(101,)] * 12]


@pytest.mark.parametrize("address", ["localhost", "http://localhost:8001", "", "a b:1", 8001])
def test_an_address_that_is_none_is_refused(connect: Any, address: Any) -> None:
    with pytest.raises(UsageError, match="expected host:port"):
        connect(address)


@pytest.mark.parametrize("options", [{"timeout_seconds": 0}, {"timeout_seconds": math.nan}, {"retries": -1}])
def test_limits_that_cannot_be_are_refused(connect: Any, options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"{name} is"):
        connect("localhost:8001", **options)


@pytest.mark.parametrize(
    ("name", "kind", "array"),
    [
        ("user_id", "BYTES", np.array([[b"a", b"b"]], dtype=object)),
        ("user_id", "BYTES", np.array([b"a"], dtype=object)),
        ("k", "INT32", np.array([[3]], dtype=np.int32)),
        ("k", "INT64", np.array([3], dtype=np.int64)),
        ("surprise", "INT32", np.array([3], dtype=np.int32)),
    ],
)
def test_a_wrong_tensor_is_refused_and_the_server_lives(server: EmbeddedServer, name: str, kind: str, array: Any) -> None:
    raw = triton.InferenceServerClient(server.grpc_address)
    tensor = triton.InferInput(name, list(array.shape), kind)
    tensor.set_data_from_numpy(array)
    with pytest.raises(triton.InferenceServerException, match=name) as refused:
        raw.infer("recommend", [tensor])
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert raw.is_server_ready()


def questions(server: EmbeddedServer, model: str) -> int:
    """How many requests have reached a model since the server began; Triton counts one some time after it has answered it."""
    asked = triton.InferenceServerClient(server.grpc_address)
    counts = [-1]
    while len(counts) < 4 or len(set(counts[-3:])) > 1:
        (statistics,) = asked.get_inference_statistics(model).model_stats
        counts.append(statistics.inference_stats.success.count + statistics.inference_stats.fail.count)
        time.sleep(0.05)
    return counts[-1]


def check_until(server: EmbeddedServer, deadline: float) -> None:
    while time.monotonic() < deadline:
        server.check()
