"""What a machine does to a server: a store that stands still, a disk that is full, a clock that jumps, and memory under load.

The disk is made full by a limit on the size of the gateway's files (RLIMIT_FSIZE), at which writes fail as at its end. The clock is the
one that Cartwheel reads (``time.time_ns``) in every Python process of the server, moved by a file that a ``sitecustomize`` reads, for the
kernel's own may not be set; gRPC, whose C library would not see it, keeps the true one.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks.fault_cases.case import Case, Counts
from benchmarks.fault_cases.target import DEADLINE_SECONDS, METHOD, Server, describe
from benchmarks.fault_cases.tracking import TAKEN, event, post
from serving.server.state_folder import live_folder
from serving.settings import ServeSettings
from serving.store.opened import FILE

_STILL_SECONDS: Final = 8.0
_LOAD_CONNECTIONS: Final = 4
_GROWTH: Final = 0.05
_SAMPLES: Final = 20
_CLOCK: Final = "CARTWHEEL_FAULTS_CLOCK"
_JUMPS: Final = (3_600, -3_600, 86_400 * 40, -86_400 * 3, 0)
"""Seconds from the true time."""
_SITECUSTOMIZE: Final = f"""
import os, time
_real_ns, _path = time.time_ns, os.environ.get({_CLOCK!r}, "")
def _offset():
    try:
        with open(_path, encoding="ascii") as file:
            return int(file.read() or 0)
    except (OSError, ValueError):
        return 0
if _path:
    time.time_ns = lambda: _real_ns() + _offset() * 1_000_000_000
"""


def _ask(server: Server, counts: Counts, times: int = 1) -> None:
    """Ask honest questions, each of which must be answered as at the start."""
    with server.channel() as channel:
        call = channel.unary_unary(METHOD)
        for _ in range(times):
            counts.requests += 1
            try:
                answer = call(server.honest_payload(), timeout=DEADLINE_SECONDS)
            except grpc.RpcError as error:
                counts.hangs += "DEADLINE_EXCEEDED" in describe(error)
                counts.wrong += 1
                counts.note(f"an honest question: {describe(error)}")
                continue
            if not server.is_honest(answer):
                counts.wrong += 1
                counts.note("an honest question is answered differently than before")


def _track(server: Server, counts: Counts, name: str, accepted: list[str], **fields: Any) -> int:
    """Track one event; note its id where it is acknowledged, and return the status."""
    counts.requests += 1
    try:
        status, told = post(server, json.dumps({"events": [event(name, event_id=name, **fields)]}).encode())
    except TimeoutError:
        counts.hangs += 1
        counts.note(f"an event was not answered within {DEADLINE_SECONDS:g} s")
        return 0
    if status == TAKEN and told.get("accepted", 0) + told.get("duplicates", 0) == 1:
        accepted.append(name)
    elif status not in (429, 503):
        counts.wrong += 1
        counts.note(f"an event: {status} {str(told)[:120]}")
    return status


def _database(server: Server) -> Path:
    return live_folder(server.shop.run / "repository", ServeSettings()) / FILE


def _hold(server: Server, counts: Counts, accepted: list[str]) -> None:
    """Count acknowledged events that the journal does not hold, or holds twice."""
    with sqlite3.connect(f"file:{_database(server)}?mode=ro", uri=True) as store:
        kept = [json.loads(text)[0] for (text,) in store.execute("SELECT body FROM journal")]
    for name in accepted:
        if kept.count(name) != 1:
            counts.wrong += 1
            counts.note(f"the acknowledged event {name} is in the journal {kept.count(name)} times")


def slow_store(server: Server) -> Counts:
    """Another process holds the store's lock for seconds: questions are answered all the while, and events wait or are refused."""
    counts, accepted = Counts(), list[str]()
    if not server.has_gateway:
        return Counts(notes=["there is no gateway, which keeps a store"])
    _track(server, counts, "before", accepted)
    lock = sqlite3.connect(_database(server), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    senders = [threading.Thread(target=_track, args=(server, counts, f"meanwhile {number}", accepted)) for number in range(10)]
    for sender in senders:
        sender.start()
    until = time.monotonic() + _STILL_SECONDS / (4 if server.quick else 1)
    while time.monotonic() < until:
        _ask(server, counts)
    lock.execute("ROLLBACK")
    lock.close()
    for sender in senders:
        sender.join()
    begun = time.monotonic()
    while _track(server, counts, "after", accepted) != TAKEN and time.monotonic() - begun < DEADLINE_SECONDS:
        time.sleep(0.05)
    counts.seconds = time.monotonic() - begun
    _hold(server, counts, accepted)
    server.recovered(counts)
    return counts


def full_disk(server: Server) -> Counts:
    """No file of the gateway may grow: questions are answered, events are refused and none of them is half there; then there is room."""
    counts, accepted = Counts(), list[str]()
    if not server.has_gateway:
        return Counts(notes=["there is no gateway, which writes events"])
    for number in range(3):
        _track(server, counts, f"before {number}", accepted)
    gateway, before = server.gateway, resource.prlimit(server.gateway, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway, resource.RLIMIT_FSIZE, (1, before[1]))
    refused = 0
    for number in range(server.scaled(500)):
        refused += _track(server, counts, f"meanwhile {number}", accepted, brand="x" * 20_000) != TAKEN
        _ask(server, counts)
    if not refused:
        counts.wrong += 1
        counts.note("no event was refused though nothing could be written")
    resource.prlimit(gateway, resource.RLIMIT_FSIZE, before)
    begun = time.monotonic()
    while _track(server, counts, "after", accepted) != TAKEN and time.monotonic() - begun < DEADLINE_SECONDS:
        time.sleep(0.05)
    counts.seconds = time.monotonic() - begun
    if server.gateway != gateway:
        counts.crashes += 1
        counts.note("the gateway is another process than before")
    _hold(server, counts, accepted)
    server.recovered(counts)
    return counts


def clock_jumps(server: Server) -> Counts:
    """The clock jumps an hour and forty days on, and back beyond where it was: events count once, and answers stay."""
    counts, accepted = Counts(), list[str]()
    before = server.processes()
    for number, jump in enumerate(_JUMPS):
        (server.folder / "clock").write_text(str(jump), encoding="ascii")
        for again in range(2):
            status = _track(server, counts, f"jump {number}", accepted if not again else [])
            if status != TAKEN:
                counts.wrong += 1
                counts.note(f"an event without a time, the clock {jump:+,} s off: {status}")
        _ask(server, counts, server.scaled(500))
    _hold(server, counts, accepted)
    server.recovered(counts)
    if server.processes() != before:
        counts.crashes += 1
        counts.note("Triton or a program of a model is another process than before")
    return counts


def _clock(folder: Path) -> Mapping[str, str]:
    (folder / "site").mkdir(parents=True, exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(_SITECUSTOMIZE, encoding="ascii")
    path = os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {_CLOCK: str(folder / "clock"), "PYTHONPATH": path}


def memory(server: Server) -> Counts:
    """Questions and events for an hour (quick: a minute and more), and what all processes hold: 5 % more at the end are too much.

    The first third warms up. Compared are the medians of what is resident in the second third and in the last.
    """
    counts, ended, lock = Counts(), threading.Event(), threading.Lock()
    seconds = 80.0 if server.quick else 3_600.0

    def load(place: int) -> None:
        own, accepted, number = Counts(), list[str](), 0
        while not ended.is_set():
            _ask(server, own, 20)
            if server.has_gateway:
                user = {"user_id": server.shop.users[number % len(server.shop.users)]}
                _track(server, own, f"load {place} {number % 1_000}", accepted, **user)
            number += 1
        with lock:
            for name in ("requests", "hangs", "wrong"):
                setattr(counts, name, getattr(counts, name) + getattr(own, name))
            for note in own.notes:
                counts.note(note)

    threads = [threading.Thread(target=load, args=(place,)) for place in range(_LOAD_CONNECTIONS)]
    for thread in threads:
        thread.start()
    held = []
    for _ in range(3 * _SAMPLES):
        time.sleep(seconds / (3 * _SAMPLES))
        held.append(server.resident_bytes())
    ended.set()
    for thread in threads:
        thread.join()
    warm, last = (sorted(held[part * _SAMPLES : (part + 1) * _SAMPLES])[_SAMPLES // 2] for part in (1, 2))
    told = f"{warm / 1e6:,.0f} MB once warm, {last / 1e6:,.0f} MB at the end of {seconds:,.0f} s ({last / warm - 1:+.1%})"
    counts.notes.insert(0, told)
    counts.wrong += last > (1 + _GROWTH) * warm
    server.recovered(counts)
    return counts


_OWN: Final[dict[str, str | int | float]] = {"queue_seconds": 30.0, "gateway_queue_seconds": 30.0, "ladder": "off"}
CASES = (
    Case("slow store", slow_store, own_server=True, settings=_OWN),
    Case("full disk", full_disk, own_server=True, settings=_OWN),
    Case("clock jumps", clock_jumps, own_server=True, settings=_OWN, environment=_clock),
    Case("memory", memory, own_server=True, settings=_OWN),
)
