"""Events that no honest shop sends to ``/v1/track``, beside honest ones, which must be taken in all the while."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.fault_cases.case import Case, Counts
from benchmarks.fault_cases.target import DEADLINE_SECONDS, Server

TAKEN: Final = 200
BAD: Final = frozenset({400, 413, 415, 422})
_BUSY: Final = frozenset({429, 503})
"""What any sender may be told where more waits than can be written down."""
_ATTACKERS: Final = 3
PATH: Final = "/v1/track"
_JSON: Final = "application/json"


@dataclass(frozen=True)
class Posted:
    """One request to ``/v1/track``.

    Attributes:
        name: what is wrong with it.
        body: as it goes over the wire.
        statuses: those that are right.
        refused: how many events must be refused where it is taken.
        content_type: what the body is declared to be.
    """

    name: str
    body: bytes
    statuses: frozenset[int] = BAD
    refused: int = 0
    content_type: str = _JSON


def event(number: int | str, **fields: Any) -> dict[str, Any]:
    """Return a sound event, other fields put in place of its own."""
    sound = {"event_id": f"sound {number}", "user_id": "tracked", "item_id": "an item", "event_type": "view", "price": 1.5}
    return {**sound, **fields}


def posted() -> Iterator[Posted]:
    """Yield bodies that are wrong in one way each."""
    for name, body in (
        ("no JSON", b"{events: 1"),
        ("nothing", b""),
        ("no UTF-8", b'{"events": ["\xff\xfe"]}'),
        ("a list", b"[]"),
        ("a number", b"7"),
        ("other fields", b'{"event": []}'),
        ("events of text", b'{"events": "view"}'),
        ("no events", b'{"events": []}'),
        ("deeply nested", b'{"events": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("too many events", json.dumps({"events": [event("one")] * 10_001}).encode()),
        ("a body of 16 MB", json.dumps({"events": [event("one", brand="x" * 2**24)]}).encode()),
    ):
        yield Posted(name, body)
    yield Posted("declared as text", json.dumps({"events": [event("one")]}).encode(), content_type="text/plain")
    wrong: dict[str, Any] = {
        "no object": 7,
        "a null": None,
        "a list within": [event("one")],
        "an unknown field": event("one", nope=1),
        "an object as price": event("one", price={"now": 3}),
        "a price of text": event("one", price="cheap"),
        "a price below 0": event("one", price=-1),
        "a price of NaN": event("one", price=float("nan")),
        "a price of 400 digits": event("one", price=10**400),
        "an unknown type": event("one", event_type="nope"),
        "a type of a number": event("one", event_type=3),
        "no item": event("one", item_id=None),
        "a null token as user": event("one", user_id="NULL"),
        "a long item": event("one", item_id="x" * 5000),
        "half a surrogate": event("one", item_id="\ud800"),
        "a time in the future": event("one", timestamp=4_000_000_000_000_000),
        "a time of no calendar": event("one", timestamp="2025-02-30T00:00:00Z"),
        "a time of true": event("one", timestamp=True),
        "no quantity": event("one", quantity="some"),
    }
    for name, raw in wrong.items():
        yield Posted(name, json.dumps({"events": [raw]}).encode(), BAD | {TAKEN}, refused=1)
    every = [event(number) for number in range(3)]
    yield Posted(
        "sound ones among wrong ones", json.dumps({"events": [*every, *wrong.values()]}).encode(), BAD | {TAKEN}, len(wrong)
    )


def post(server: Server, body: bytes, content_type: str = _JSON) -> tuple[int, dict[str, Any]]:
    """Post a body to ``/v1/track``; return the status and the answer."""
    connection = http.client.HTTPConnection(server.endpoint.http, timeout=DEADLINE_SECONDS)
    try:
        connection.request("POST", PATH, body, {"content-type": content_type})
        answer = connection.getresponse()
        told = json.loads(answer.read() or b"{}")
        return answer.status, told if isinstance(told, dict) else {}
    finally:
        connection.close()


def _judge(counts: Counts, request: Posted, status: int, told: dict[str, Any]) -> None:
    counts.requests += 1
    refused = len(told.get("refused", ()))
    if status not in request.statuses | _BUSY:
        counts.wrong += 1
        counts.note(f"{request.name}: {status} {str(told)[:120]}")
    elif status == TAKEN and refused != request.refused:
        counts.wrong += 1
        counts.note(f"{request.name}: {refused} events refused where {request.refused} are wrong")


def _send(server: Server, counts: Counts, request: Posted) -> None:
    try:
        _judge(counts, request, *post(server, request.body, request.content_type))
    except TimeoutError:
        counts.hangs += 1
        counts.note(f"{request.name}: not answered within {DEADLINE_SECONDS:g} s")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if len(request.body) > 2**20:  # told, and hung up on, before all of it was read
            counts.requests += 1
            return
        counts.wrong += 1
        counts.note(f"{request.name}: {type(error).__name__}: {error}")


class _Senders:
    """Attackers and one honest sender at one server, and what is counted of them."""

    def __init__(self, server: Server) -> None:
        self._server, self._lock, self._over = server, threading.Lock(), threading.Event()
        self._turn = iter(list(itertools.chain.from_iterable(posted() for _ in range(server.scaled(50)))))
        self._of_each = [Counts() for _ in range(_ATTACKERS + 1)]

    def run(self) -> Counts:
        """Let all begin, end the honest one with the last attacker, and count."""
        before = self._server.processes()
        attackers = [threading.Thread(target=self._attack, args=(counts,)) for counts in self._of_each[1:]]
        honest = threading.Thread(target=self._visit, args=(self._of_each[0],))
        for thread in (honest, *attackers):
            thread.start()
        for thread in attackers:
            thread.join()
        self._over.set()
        honest.join()
        names = ("requests", "crashes", "hangs", "wrong")
        total = Counts(*(sum(getattr(counts, name) for counts in self._of_each) for name in names))
        for note in itertools.chain.from_iterable(counts.notes for counts in self._of_each):
            total.note(note)
        self._server.recovered(total)
        if self._server.processes() != before:
            total.crashes += 1
            total.note("Triton or a program of a model is another process than before")
        return total

    def _next(self) -> Posted | None:
        with self._lock:
            return next(self._turn, None)

    def _attack(self, counts: Counts) -> None:
        while (request := self._next()) is not None:
            _send(self._server, counts, request)

    def _visit(self, counts: Counts) -> None:
        for number in itertools.count():
            if self._over.is_set():
                return
            body = json.dumps({"events": [event(f"honest {number}")]}).encode()
            _send(self._server, counts, Posted("an honest event", body, frozenset({TAKEN})))


def wrong_events(server: Server) -> Counts:
    """Every wrong body, some times, from several connections, while honest events are sent and must be accepted."""
    if not server.has_gateway:
        return Counts(notes=["there is no gateway, which takes events in"])
    return _Senders(server).run()


CASES = (Case("wrong events", wrong_events),)
