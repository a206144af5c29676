"""Clients that mean harm: malformed, huge and odd requests beside honest ones, which must be answered as if they were alone."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import grpc
import numpy as np

from benchmarks.fault_cases.case import Case, Counts
from benchmarks.fault_cases.malformed import Malformed, malformed, message, random_request, strings
from benchmarks.fault_cases.target import DEADLINE_SECONDS, METHOD, Server, describe

_ATTACKERS = 4
_HONEST = 4
_SEED = 1
_BUSY = frozenset({"UNAVAILABLE"})
"""What any request may be told where more wait than the server has time for; a dead server is noticed by its processes."""


class _Attack:
    """Attackers and honest clients at one server, and what is counted of them."""

    def __init__(self, server: Server, requests: Iterable[Malformed]) -> None:
        self.counts = Counts()
        self._server, self._turn = server, iter(requests)
        self._lock, self._over = threading.Lock(), threading.Event()

    def run(self, attackers: int, honest: int) -> Counts:
        """Let all begin, end the honest ones with the last attacker, and count."""
        before = self._server.processes()
        evil = [threading.Thread(target=self._attack) for _ in range(attackers)]
        good = [threading.Thread(target=self._visit) for _ in range(honest)]
        for thread in (*good, *evil):
            thread.start()
        for thread in evil:
            thread.join()
        self._over.set()
        for thread in good:
            thread.join()
        self._server.recovered(self.counts)
        if self._server.processes() != before:
            self.counts.crashes += 1
            self.counts.note("Triton or a program of a model is another process than before")
        return self.counts

    def _attack(self) -> None:
        with self._server.channel() as channel:
            call = channel.unary_unary(METHOD)
            while (request := self._next()) is not None:
                status = _status(functools.partial(call, request.payload, timeout=DEADLINE_SECONDS))
                self._count(request.statuses, status, request.name)

    def _next(self) -> Malformed | None:
        with self._lock:
            return next(self._turn, None)

    def _visit(self) -> None:
        payload = self._server.honest_payload()
        with self._server.channel() as channel:
            call = channel.unary_unary(METHOD)
            while not self._over.is_set():
                try:
                    answer = call(payload, timeout=DEADLINE_SECONDS)
                    status = "OK" if self._server.is_honest(answer) else "another answer than before"
                except grpc.RpcError as error:
                    status = describe(error)
                self._count(frozenset({"OK"}), status, "an honest request")

    def _count(self, statuses: frozenset[str], found: str, what: str) -> None:
        status = found.partition(":")[0]
        with self._lock:
            self.counts.requests += 1
            if status == "DEADLINE_EXCEEDED":
                self.counts.hangs += 1
                self.counts.note(f"{what}: not answered within {DEADLINE_SECONDS:g} s")
            elif status not in statuses | _BUSY:
                self.counts.wrong += 1
                self.counts.note(f"{what}: {found[:160]}")


def attack(server: Server, requests: Iterable[Malformed], attackers: int = _ATTACKERS, honest: int = _HONEST) -> Counts:
    """Send requests from several connections at once while honest clients ask, and count what is not as it must be.

    Args:
        server: the server.
        requests: what is sent, each once.
        attackers: connections that send them.
        honest: connections that ask the honest request all the while.
    """
    return _Attack(server, requests).run(attackers, honest)


def _status(call: Callable[[], object]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return describe(error)
    return "OK"


def _every_kind(server: Server) -> Iterator[Malformed]:
    shop = server.shop
    return malformed(shop.users[0], shop.items[0], shop.max_k)


def one_of_each(server: Server) -> Counts:
    """Every kind of malformed request, some times."""
    small = [request for request in _every_kind(server) if len(request.payload) < 2**20]
    return attack(server, itertools.chain.from_iterable(small for _ in range(server.scaled(50))))


def cut_off_strings(server: Server) -> Counts:
    """Truncated string tensors, as fast as they can be sent."""
    kinds = [request for request in _every_kind(server) if "cut off" in request.name]
    return attack(server, itertools.islice(itertools.cycle(kinds), server.scaled(20_000)))


def at_random(server: Server) -> Counts:
    """Requests in which anything may be wrong."""
    rng = np.random.default_rng(_SEED)
    shop = server.shop
    return attack(server, (random_request(rng, shop.users[0], shop.items[0]) for _ in range(server.scaled(10_000))))


def huge(server: Server) -> Counts:
    """Requests beyond every limit of size."""
    large = [request for request in _every_kind(server) if len(request.payload) >= 2**18]
    return attack(server, itertools.chain.from_iterable(large for _ in range(server.scaled(50))), attackers=2)


def at_the_limits(server: Server) -> Counts:
    """The largest requests that are answered: honest ones beside them wait their turn, but are answered."""
    carts = message("cart", strings("cart_items", *[server.shop.items[0].encode()] * 1000))
    excluding = message("recommend", strings("user_id", b"u"), strings("exclude", *[b"%d" % each for each in range(100_000)]))
    largest = [
        Malformed(name, made, frozenset({"OK"})) for name, made in (("1,000 lines", carts), ("100,000 left out", excluding))
    ]
    return attack(server, itertools.islice(itertools.cycle(largest), server.scaled(200)), attackers=2)


def many_connections(server: Server) -> Counts:
    """Connections that are opened, half used and dropped."""
    counts = Counts()
    payload = server.honest_payload()
    for _ in range(server.scaled(500)):
        channels = [server.channel() for _ in range(4)]
        calls = [channel.unary_unary(METHOD).future(payload, timeout=DEADLINE_SECONDS) for channel in channels]
        time.sleep(0.002)
        counts.requests += len(calls)
        for channel in channels:
            channel.close()
    server.recovered(counts)
    return counts


CASES = (
    Case("every malformed request", one_of_each),
    Case("strings cut off", cut_off_strings),
    Case("requests at random", at_random),
    Case("huge requests", huge),
    Case("the largest allowed requests", at_the_limits),
    Case("connections dropped", many_connections),
)
