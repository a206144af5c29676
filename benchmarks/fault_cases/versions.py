"""New versions under load: swapped hundreds of times, damaged, and everything killed in the middle of bringing one in."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2

from benchmarks.fault_cases.case import Case, Counts
from benchmarks.fault_cases.target import DEADLINE_SECONDS, GIVE_UP_SECONDS, METHOD, Server, describe
from cartwheel.core.errors import CartwheelError, ServerError
from serving.contract.version import METADATA
from serving.server.control import order
from serving.versions.store import Version, VersionStore

_SWAPS: Final = 200
_CALLERS: Final = 4
_PATIENT: Final = {"queue_seconds": 60.0, "ladder": "off", "max_restarts": 1000}
"""Under which settings a slow machine is no overload, and an answer is one of a model."""
_DEPLOY: Final[dict[str, Any]] = {"shares": [0.5], "step_seconds": 0.5, "latency_milliseconds": 10_000.0}
_STANDS: Final[dict[str, Any]] = {**_DEPLOY, "step_seconds": 60.0}
_PAUSE_SECONDS, _THINK_SECONDS = 0.05, 0.01
_OPTIONS: Final = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]


class _Load:
    """Honest questions all the time; each answer must be as at the start, and of a version that is known.

    Args:
        allowed: how the name of a status begins that may come instead.
    """

    def __init__(self, server: Server, counts: Counts, versions: set[str], *allowed: str) -> None:
        self._server, self._counts, self._versions, self._allowed = server, counts, versions, allowed
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(_CALLERS)]
        self._address, self._payload = server.endpoint.grpc, server.honest_payload()

    def _ask(self) -> None:
        with grpc.insecure_channel(self._address, _OPTIONS) as channel:
            ask = channel.unary_unary(METHOD)
            while not self._stop.is_set():
                self._note(self._asked(ask))
                time.sleep(_THINK_SECONDS)  # a machine that is asked all it can answer has no time to load a version

    def _asked(self, ask: Any) -> str:
        """Ask once, and return what is wrong with what came."""
        try:
            answer = ask(self._payload, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            time.sleep(_PAUSE_SECONDS)
            told = describe(error)
            return "" if self._allowed and told.startswith(self._allowed) else told
        version = service_pb2.ModelInferResponse.FromString(answer).parameters["version"].string_param
        return "" if self._server.is_honest(answer) and version in self._versions else f"a wrong answer of {version!r}"

    def _note(self, wrong: str) -> None:
        with self._lock:
            self._counts.requests += 1
            if wrong:
                hung = wrong.startswith("DEADLINE_EXCEEDED")
                self._counts.hangs += hung
                self._counts.wrong += not hung
                self._counts.note(wrong)

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def swapped(server: Server) -> Counts:
    """Two versions take turns, each brought in by half of the shoppers first, while four callers ask."""
    counts = Counts()
    if not server.has_gateway:
        return counts
    versions = _two_versions(server)
    with _Load(server, counts, {version.name for version in versions}):
        for number in range(max(2, server.scaled(_SWAPS))):
            if error := _refusal(server, versions[number % 2]):
                counts.wrong += 1
                counts.note(error)
    server.recovered(counts)
    return counts


def corrupt(server: Server) -> Counts:
    """A file of a version is damaged by one bit, cut short or taken away, and it is deployed: it is refused, and the old one goes on."""
    counts = Counts()
    if not server.has_gateway:
        return counts
    version, _ = _two_versions(server)
    files = [path for path in sorted(version.path.rglob("*")) if path.is_file() and path.stat().st_size]
    with _Load(server, counts, {_served(server)}):
        for path in files[:: max(1, len(files) // server.scaled(len(files) * 50))]:
            for damage in (_flipped, _halved, None):
                with _damaged(path, damage):
                    found = _refusal(server, version)
                if "is damaged" not in found or "\n" in found:
                    counts.wrong += 1
                    counts.note(found or f"{path} was damaged, and is served")
    server.recovered(counts)
    return counts


def _refusal(server: Server, version: Version) -> str:
    """Deploy a version, and return why it was refused; empty where it is served."""
    try:
        order(server.endpoint.control, {"do": "deploy", "version": version.name, "settings": _DEPLOY})
    except CartwheelError as error:
        return str(error)
    return ""


def killed_in_the_middle(server: Server) -> Counts:
    """The new Triton, the gateway, the command and the server itself are killed while a version is brought in."""
    counts = Counts()
    if not server.has_gateway:
        return counts
    versions = _two_versions(server)
    names = {version.name for version in versions}
    for kill in (_new_triton, lambda _server, _old: server.gateway):
        with (
            _Load(server, counts, names, "UNAVAILABLE", "INTERNAL", "UNKNOWN"),
            _under_way(server, _other(server, versions)) as old,
        ):
            os.kill(kill(server, old), signal.SIGKILL)
            time.sleep(1.0)
        server.recovered(counts)
    before, command = _served(server), _command(server, _other(server, versions))
    with _Load(server, counts, names):
        assert command.stderr is not None
        command.stderr.readline()  # it has begun
        command.kill()
        _until(lambda: _served(server) != before, counts, "a deployment whose command was killed was not finished")
    command.wait()
    command.stderr.close()
    before = _served(server)
    with _under_way(server, _other(server, versions)):
        server.process.kill()
        server.process.wait()
    server.start()
    server.recovered(counts)
    if _served(server) != before:
        counts.wrong += 1
        counts.note("after the server was killed another version is served than before")
    return counts


def _two_versions(server: Server) -> tuple[Version, Version]:
    """Return a version that is not served and the served one: the same models, so that their answers are known, under another name."""
    store = VersionStore(server.shop.run)
    served, copy = store.newest(), server.folder / "copy"
    if not copy.is_dir():
        shutil.copytree(served.path, copy)
        metadata = copy / METADATA
        metadata.chmod(0o644)
        metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "copy": True}), encoding="utf-8")
    return store.add(copy), served


def _served(server: Server) -> str:
    told = order(server.endpoint.control, {"do": "tell"})["versions"]
    return max(told, key=lambda name: float(told[name]["share"]))


def _other(server: Server, versions: tuple[Version, Version]) -> Version:
    served = _served(server)
    return next(version for version in versions if version.name != served)


@contextlib.contextmanager
def _under_way(server: Server, version: Version) -> Iterator[set[int]]:
    """Begin to bring a version in, and yield the Tritons of before once it is asked by some; call it off at the end."""
    old, name = set(_tritons(server)), server.endpoint.control

    def deploy() -> None:
        with contextlib.suppress(CartwheelError):
            order(name, {"do": "deploy", "version": version.name, "settings": _STANDS})

    thread = threading.Thread(target=deploy)
    thread.start()
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while order(name, {"do": "tell"})["versions"].get(version.name, {}).get("share", 0.0) == 0.0 and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    yield old
    with contextlib.suppress(ServerError):
        if order(name, {"do": "tell"})["under_way"]:
            order(name, {"do": "rollback"})
    thread.join()


def _tritons(server: Server) -> list[int]:
    return [pid for pid, name in server._descendants().items() if name == "tritonserver"]


def _new_triton(server: Server, old: set[int]) -> int:
    [found] = set(_tritons(server)) - old
    return found


def _command(server: Server, version: Version) -> subprocess.Popen[bytes]:
    words = ["deploy", str(server.shop.run), version.name, "--share", "0.5", "--step-seconds", "0.5"]
    return subprocess.Popen([sys.executable, "-m", "cartwheel.cli.main", *words], stderr=subprocess.PIPE)


def _until(condition: Callable[[], bool], counts: Counts, otherwise: str) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            counts.wrong += 1
            counts.note(otherwise)
            return
        time.sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def _damaged(path: Path, damage: Callable[[bytes], bytes] | None) -> Iterator[None]:
    """Damage a file within the block; None takes it away."""
    whole = path.read_bytes()
    path.chmod(0o644)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(whole))
    try:
        yield
    finally:
        path.write_bytes(whole)
        path.chmod(0o444)


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


CASES = (
    Case(f"{_SWAPS} swaps of versions under load", swapped, own_server=True, settings=dict(_PATIENT)),
    Case("corrupt version", corrupt, own_server=True, settings=dict(_PATIENT)),
    Case("kill -9 in the middle of bringing a version in", killed_in_the_middle, own_server=True, settings=dict(_PATIENT)),
)
