"""How the gateway asks Triton, against a small server of gRPC in its place that notes what is cancelled."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from serving.gateway.refusal import RefusedError
from serving.gateway.upstream import INFER, Upstream
from serving.settings import ServeSettings


class Slow(grpc.GenericRpcHandler):
    """Answers each request with its own bytes once it is released, and counts what is cancelled and what comes with a deadline."""

    def __init__(self) -> None:
        self.begun, self.cancelled, self.deadlines = 0, 0, 0
        self.released = asyncio.Event()

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._answer) if details.method == INFER else None

    async def _answer(self, raw: bytes, context: Any) -> bytes:
        self.begun += 1
        self.deadlines += context.time_remaining() is not None
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return raw


@contextlib.asynccontextmanager
async def behind(folder: Path, **settings: Any) -> AsyncIterator[tuple[Upstream, Slow]]:
    slow, server = Slow(), aio.server()
    server.add_generic_rpc_handlers((slow,))
    server.add_insecure_port(f"unix:{folder}/socket")
    await server.start()
    yield Upstream(f"unix:{folder}/socket", ServeSettings(**settings)), slow
    slow.released.set()
    await server.stop(0)


async def until(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


def test_what_is_given_up_runs_to_its_end_without_a_deadline_or_a_cancellation(tmp_path: Path) -> None:
    async def check() -> None:
        async with behind(tmp_path) as (upstream, slow):
            tasks = [asyncio.ensure_future(upstream.ask(b"%d" % number)) for number in range(20)]
            await until(lambda: slow.begun == 20)
            for task in tasks[:15]:
                task.cancel()
            await asyncio.sleep(0.1)
            assert upstream.under_way == 20, "what was given up holds its place until Triton has answered"
            slow.released.set()
            assert await asyncio.gather(*tasks[15:]) == [b"15", b"16", b"17", b"18", b"19"]
            await until(lambda: upstream.under_way == 0)
            assert (slow.cancelled, slow.deadlines) == (0, 0)

    asyncio.run(check())


def test_what_finds_no_place_waits_for_a_bounded_time_and_in_bounded_numbers(tmp_path: Path) -> None:
    async def check() -> None:
        async with behind(tmp_path, max_under_way=2, max_waiting=2, gateway_queue_seconds=0.2) as (upstream, slow):
            under_way = [asyncio.ensure_future(upstream.ask(b"a")) for _ in range(2)]
            waiting = [asyncio.ensure_future(upstream.ask(b"b")) for _ in range(2)]
            await until(lambda: upstream.waiting == 2)
            with pytest.raises(RefusedError, match=r"serve\.max_waiting") as refused:
                await upstream.ask(b"c")
            assert (refused.value.reason, refused.value.http_status, refused.value.retry_seconds) == ("queue_full", 503, 1.0)
            for task in waiting:
                with pytest.raises(RefusedError, match=r"serve\.gateway_queue_seconds"):
                    await task
            given_up, patient = (asyncio.ensure_future(upstream.ask(raw)) for raw in (b"given up", b"patient"))
            await until(lambda: upstream.waiting == 2)
            given_up.cancel()
            slow.released.set()
            assert await asyncio.gather(*under_way, patient) == [b"a", b"a", b"patient"]
            await until(lambda: upstream.under_way == 0)
            assert (upstream.waiting, slow.begun) == (0, 3), "what was given up before its turn is not sent"

    asyncio.run(check())


def test_a_place_that_is_given_up_as_it_is_got_is_passed_on(tmp_path: Path) -> None:
    async def check() -> None:
        async with behind(tmp_path, max_under_way=1) as (upstream, slow):
            first = asyncio.ensure_future(upstream.ask(b"1"))
            await until(lambda: slow.begun == 1)
            second, third = (asyncio.ensure_future(upstream.ask(raw)) for raw in (b"2", b"3"))
            await until(lambda: upstream.waiting == 2)
            first.add_done_callback(lambda _: second.cancel())
            slow.released.set()
            assert await asyncio.wait_for(third, 5) == b"3"
            await until(lambda: upstream.under_way == 0)

    asyncio.run(check())


def test_a_request_that_triton_has_lost_gives_its_place_back(tmp_path: Path) -> None:
    async def check() -> None:
        async with behind(tmp_path, max_under_way=1, lost_seconds=0.2) as (upstream, slow):
            with pytest.raises(RefusedError, match=r"did not answer within 0\.2 s") as refused:
                await upstream.ask(b"lost")
            assert refused.value.reason == "lost"
            assert (upstream.under_way, slow.cancelled) == (0, 0)
            slow.released.set()
            assert await upstream.ask(b"next") == b"next"
            await until(lambda: upstream.under_way == 0)

    asyncio.run(check())


def test_a_triton_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    async def check() -> None:
        upstream = Upstream(f"unix:{tmp_path}/nothing", ServeSettings())
        with pytest.raises(RefusedError, match="Triton does not answer") as refused:
            await upstream.ask(b"")
        assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.UNAVAILABLE, "triton_away")
        await until(lambda: upstream.under_way == 0)

    asyncio.run(check())
