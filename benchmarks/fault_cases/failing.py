"""Clients and processes that fail: requests that are given up, dead processes, requests that end Triton, overload, and the end itself."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import grpc
import grpc.aio

from benchmarks.fault_cases.case import Case, Counts
from benchmarks.fault_cases.target import GIVE_UP_SECONDS, METHOD, Server, describe, infer_request
from cartwheel.core.errors import ServerError
from serving.client.client import Client

_SEED = 1
_CONNECTIONS = 8
_WIDTH = 4
_LATEST_SECONDS = 0.05
_DEADLINE_SECONDS = 5.0
_LOAD_SECONDS = 10.0
_PAUSE_SECONDS = 0.02
_STOP_AIM_SECONDS = 15.0
_RESTARTS = {"max_restarts": 1000}


def cancelled_and_late(server: Server) -> Counts:
    """Requests to all ensembles, half cancelled at a random instant and half with deadlines of 1 to 50 ms; some ask for no item."""
    counts, lock, before = Counts(), threading.Lock(), _restarts(server)

    def give_up(seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - a load, not a secret
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.endpoint.grpc, options=options) as channel:
            for _ in range(max(1, server.scaled(100_000) // _CONNECTIONS // _WIDTH)):
                codes = _given_up(channel, server, rng)
                with lock:
                    _count(counts, codes, {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "UNAVAILABLE"})

    threads = [threading.Thread(target=give_up, args=(_SEED + place,)) for place in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.recovered(counts)
    _count_crashes(server, counts, before)
    return counts


def killed_programs(server: Server) -> Counts:
    """Each process that runs a model is killed, one after the other."""
    counts = Counts()
    for place in range(max(1, server.scaled(len(server.stubs) * 50) // 50)):
        _harm(server, counts, lambda place=place: os.kill(sorted(server.stubs)[place], signal.SIGKILL))
    return counts


def killed_triton(server: Server) -> Counts:
    """Triton ends by signals that a fault in it, the kernel's guard of memory, or a person sends."""
    counts = Counts()
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
        _harm(server, counts, lambda number=number: os.kill(server.triton, number))
    return counts


def classification_of_strings(server: Server) -> Counts:
    """A request that wants the classes of an output of strings, of which Triton 2.51 divides by zero; it does not pass the gateway."""
    deadly = infer_request("recommend")
    _add_strings(deadly, "user_id", [server.shop.users[0]])
    deadly.outputs.add(name="items").parameters["classification"].int64_param = 2

    def ask() -> None:
        with server.channel() as channel:
            codes = [_code(channel.unary_unary(METHOD).future(deadly.SerializeToString(), timeout=GIVE_UP_SECONDS))]
        _count(counts, codes, {"INVALID_ARGUMENT" if server.has_gateway else "UNAVAILABLE"})

    counts, before = Counts(), _restarts(server)
    for _ in range(max(1, server.scaled(150) // 50)):
        if server.has_gateway:
            ask()
            server.recovered(counts)
        else:
            _harm(server, counts, ask)
    if server.has_gateway:
        _count_crashes(server, counts, before)
    return counts


def killed_gateway(server: Server) -> Counts:
    """The gateway ends by a signal while requests are under way; Triton goes on. Without a gateway there is nothing to do."""
    counts = Counts()
    if not server.has_gateway:
        return counts
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
        triton = server.triton
        with server.channel() as channel:
            ask = channel.unary_unary(METHOD)
            calls = [ask.future(server.honest_payload(), timeout=GIVE_UP_SECONDS) for _ in range(20)]
            os.kill(server.gateway, number)
            _count(counts, [_code(call) for call in calls], {"OK", "UNAVAILABLE"})
        server.recovered(counts)
        if server.triton != triton:
            counts.crashes += 1
            counts.note("Triton is another process than before")
    return counts


def clients_through_a_restart(server: Server) -> Counts:
    """Cartwheel's own client asks while Triton is killed; it must not notice."""
    counts, stop = Counts(), threading.Event()

    def visit() -> None:
        with Client(server.endpoint.grpc, timeout_seconds=_DEADLINE_SECONDS) as client:
            while not stop.is_set():
                counts.requests += 1
                try:
                    client.recommend(server.shop.users[0])
                except ServerError as error:
                    counts.wrong += 1
                    counts.note(str(error))
                time.sleep(_PAUSE_SECONDS)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        _harm(server, counts, lambda: os.kill(server.triton, signal.SIGKILL))
    finally:
        stop.set()
        thread.join()
    return counts


def overloaded(factor: float) -> Callable[[Server], Counts]:
    """Return a case that asks ``factor`` times what the server can answer, with a deadline of 5 s."""

    def load(server: Server) -> Counts:
        counts = Counts()
        payloads = [server.honest_payload()]
        seconds = _LOAD_SECONDS / (5 if server.quick else 1)
        capacity = asyncio.run(_answered_at_most(server.endpoint.grpc, payloads, seconds))
        codes = asyncio.run(_answered_at_rate(server.endpoint.grpc, payloads, capacity * factor, seconds))
        _count(counts, list(codes.elements()), {"OK", "UNAVAILABLE"})
        counts.note(
            f"answered in time {codes['OK'] / seconds:.0f} a second of {capacity * factor:.0f} asked;"
            f" refused {codes['UNAVAILABLE'] / seconds:.0f}; capacity {capacity:.0f}, client on the same cores"
        )
        server.recovered(counts)
        return counts

    return load


def told_to_stop(server: Server) -> Counts:
    """SIGTERM after requests that were given up, while others are under way and new ones come: its seconds are those to the end."""
    counts, rng, calls, before = Counts(), random.Random(_SEED), [], _restarts(server)  # noqa: S311 - a load, not a secret
    with server.channel() as channel:
        for _ in range(server.scaled(1000)):
            _count(
                counts,
                _given_up(channel, server, rng),
                {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "UNAVAILABLE"},
            )
        _count_crashes(server, counts, before)
        ask = channel.unary_unary(METHOD)
        calls += [ask.future(server.honest_payload(), timeout=_STOP_AIM_SECONDS) for _ in range(20)]
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        while server.process.poll() is None and time.monotonic() - begun < _STOP_AIM_SECONDS:
            calls.append(ask.future(server.honest_payload(), timeout=_STOP_AIM_SECONDS))
            time.sleep(_PAUSE_SECONDS)
        counts.seconds = time.monotonic() - begun
        _count(counts, [_code(call) for call in calls], {"OK", "UNAVAILABLE"})
    if server.process.poll() != 0:
        counts.wrong += 1
        counts.note(f"the exit code is {server.process.poll()}")
    return counts


def _harm(server: Server, counts: Counts, harm: Callable[[], None]) -> None:
    """Do harm that ends Triton, and wait for honest answers of another Triton."""
    before, begun = server.triton, time.monotonic()
    harm()
    while time.monotonic() - begun < GIVE_UP_SECONDS:
        try:
            if server.triton != before:
                break
        except ServerError:
            pass
        time.sleep(_PAUSE_SECONDS)
    server.recovered(counts)
    counts.seconds = max(counts.seconds, time.monotonic() - begun)
    if server.process.poll() is not None:
        counts.crashes += 1
        counts.note(f"the server gave up: {server.last_output()}")


def _given_up(channel: grpc.Channel, server: Server, rng: random.Random) -> list[str]:
    """Ask some requests at once, give each up in its own way, and return how they ended."""
    ask, calls = channel.unary_unary(METHOD), []
    begun = time.monotonic()
    for _ in range(_WIDTH):
        instant = rng.uniform(0.001, _LATEST_SECONDS)
        is_late = rng.random() < 0.5
        call = ask.future(_some_request(server, rng), timeout=instant if is_late else _DEADLINE_SECONDS)
        calls.append((begun + rng.uniform(0, instant), None if is_late else call, call))
    for at, doomed, _ in sorted(calls, key=lambda planned: planned[0]):
        if doomed is not None:
            time.sleep(max(0.0, at - time.monotonic()))
            doomed.cancel()
    return [_code(call) for _, _, call in calls]


def _some_request(server: Server, rng: random.Random) -> bytes:
    shop = server.shop
    model = rng.choice(["recommend", "cart", "cart", "similar_items"])
    request = infer_request(model)
    items = rng.sample(list(shop.items), min(len(shop.items), rng.randrange(1, 6)))
    if model == "similar_items":
        _add_strings(request, "item_id", items[:1])
    else:
        _add_strings(request, "user_id", [rng.choice(list(shop.users))])
        if rng.random() < 0.5:
            _add_strings(request, "recent_items", items)
        if model == "cart":
            _add_strings(request, "cart_items", items)
    request.inputs.add(name="k", datatype="INT32", shape=[1])
    request.raw_input_contents.append(rng.choice([0, 1, 5, 10]).to_bytes(4, "little"))
    content: bytes = request.SerializeToString()
    return content


def _add_strings(request: object, name: str, texts: Sequence[str]) -> None:
    encoded = [text.encode() for text in texts]
    request.inputs.add(name=name, datatype="BYTES", shape=[1, len(encoded)])  # type: ignore[attr-defined]
    request.raw_input_contents.append(b"".join(len(text).to_bytes(4, "little") + text for text in encoded))  # type: ignore[attr-defined]


def _code(call: grpc.Future) -> str:
    """Return the name of the status with which a call ended, and what was said with it."""
    try:
        error = call.exception()
    except grpc.FutureCancelledError:
        return "CANCELLED"
    return "OK" if error is None else describe(error)


def _count(counts: Counts, codes: Sequence[str], allowed: set[str]) -> None:
    for code in codes:
        status = code.partition(":")[0]
        counts.requests += 1
        if status == "DEADLINE_EXCEEDED" and status not in allowed:
            counts.hangs += 1
        elif status not in allowed:
            counts.wrong += 1
            counts.note(code)


def _restarts(server: Server) -> int:
    """Return how often the server has had to start Triton again."""
    connection = http.client.HTTPConnection(server.endpoint.health, timeout=_DEADLINE_SECONDS)
    connection.request("GET", "/health/ready")
    told = int(json.loads(connection.getresponse().read())["restarts"])
    connection.close()
    return told


def _count_crashes(server: Server, counts: Counts, before: int) -> None:
    crashes = _restarts(server) - before
    if crashes:
        counts.crashes += crashes
        counts.note(f"Triton was started again {crashes} times: {server.last_output()}")


async def _answered_at_most(address: str, payloads: Sequence[bytes], seconds: float, under_way: int = 32) -> float:
    """Return how many requests a second are answered to clients of which each waits for its answer."""
    async with grpc.aio.insecure_channel(address) as channel:
        ask, answered, end = channel.unary_unary(METHOD), 0, time.monotonic() + seconds

        async def visit(place: int) -> None:
            nonlocal answered
            while time.monotonic() < end:
                call = ask(payloads[place % len(payloads)], timeout=_DEADLINE_SECONDS)
                if await call.code() is grpc.StatusCode.OK:
                    answered += 1
                else:
                    await asyncio.sleep(_PAUSE_SECONDS)

        await asyncio.gather(*map(visit, range(under_way)))
    return answered / seconds


async def _answered_at_rate(address: str, payloads: Sequence[bytes], rate: float, seconds: float) -> Counter[str]:
    """Ask at a rate, whether or not answers come, and return how the requests ended."""
    codes: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(address) as channel:
        ask = channel.unary_unary(METHOD)

        async def visit(place: int) -> None:
            try:
                await ask(payloads[place % len(payloads)], timeout=_DEADLINE_SECONDS)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[str(error.code().name)] += 1

        begun, visits = time.monotonic(), []
        while (passed := time.monotonic() - begun) < seconds:
            visits += [asyncio.ensure_future(visit(place)) for place in range(len(visits), int(passed * rate))]
            await asyncio.sleep(_PAUSE_SECONDS / 10)
        await asyncio.gather(*visits)
    return codes


CASES = (
    Case("cancelled and late requests", cancelled_and_late),
    Case("killed program of a model", killed_programs, own_server=True, settings=dict(_RESTARTS)),
    Case("killed Triton", killed_triton, own_server=True, settings=dict(_RESTARTS)),
    Case("killed gateway", killed_gateway, own_server=True, settings=dict(_RESTARTS)),
    Case("classification of strings", classification_of_strings, own_server=True, settings=dict(_RESTARTS)),
    Case("Cartwheel's client through a restart", clients_through_a_restart, own_server=True, settings=dict(_RESTARTS)),
    *(Case(f"load of {factor:.0%} of capacity", overloaded(factor), own_server=True) for factor in (1.2, 2.0, 4.0)),
    Case("told to stop under load", told_to_stop, own_server=True),
)
