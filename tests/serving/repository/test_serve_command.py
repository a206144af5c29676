"""``cartwheel serve`` on a run that lies at an odd path and cannot be written: what it starts is closed to others and leaves no trace."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cartwheel.cli.asking import find_server
from cartwheel.core.files import sha256
from serving.client.client import Client
from serving.server.endpoint import ENDPOINT, Endpoint
from serving.server.state_folder import log_file, state_folder

ROOT = Path(__file__).parents[3]
ODD = "do$(touch PWN)llar `touch PWN` é 'quoted\" ;touch PWN"
SHARED_MEMORY = Path("/dev/shm")


class Serving:
    """One ``cartwheel serve`` of a run, started in a folder of its own."""

    def __init__(self, run: Path, state: Path, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.modes: set[int] = set()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(state)}
        command = [sys.executable, "-m", "cartwheel.cli.main", "serve", str(run), "--grpc-port", "0"]
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env=environment, umask=0)
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        watcher.join()
        assert self.process.poll() is None, self.output.read_text()

    def _watch(self) -> None:
        """Note the modes of the shared memory from its first moment until the server is ready."""
        deadline = time.monotonic() + 90
        while self.process.poll() is None and "ready" not in self.output.read_text() and time.monotonic() < deadline:
            for region in SHARED_MEMORY.glob(f"cartwheel_{self.process.pid}_*"):
                with contextlib.suppress(FileNotFoundError):
                    self.modes.add(stat.S_IMODE(region.stat().st_mode))
            time.sleep(0.001)

    def processes(self) -> dict[int, list[bytes]]:
        """Process -> command line, of all that the command started."""
        parents, lines = {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                lines[int(folder.name)] = (folder / "cmdline").read_bytes().split(b"\0")
                parents[int(folder.name)] = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        found, below = {}, {self.process.pid}
        while below:
            below = {pid for pid, parent in parents.items() if parent in below and pid in lines}
            found.update({pid: lines[pid] for pid in below})
        return found

    def end(self) -> None:
        for _ in range(2):
            self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


@pytest.fixture(scope="module")
def odd_run(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run at a path that a shell would read, with nobody's right to write."""
    path = Path(shutil.copytree(run, tmp_path_factory.mktemp("odd") / ODD))
    for each in [path, *path.rglob("*")]:
        each.chmod(each.stat().st_mode & ~0o222)
    return path


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def serving(odd_run: Path, state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    before = sha256(odd_run)
    running = Serving(odd_run, state, tmp_path_factory.mktemp("served") / "cwd")
    try:
        yield running
    finally:
        running.end()
    assert sha256(odd_run) == before, "nothing is written into a run that is only served"


@pytest.fixture
def endpoint(serving: Serving, odd_run: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    return Endpoint.read(state_folder(odd_run) / ENDPOINT)


def test_a_read_only_run_at_an_odd_path_is_served_and_found(serving: Serving, odd_run: Path, endpoint: Endpoint) -> None:
    assert find_server(None, odd_run) == endpoint.grpc
    with Client(endpoint.grpc) as client:
        assert client.recommend("u1", k=3).items


def test_no_shell_saw_the_path(serving: Serving, odd_run: Path) -> None:
    started = serving.processes()
    assert any(line[0] == b"tritonserver of " + os.fsencode(odd_run / "repository") for line in started.values()), (
        "`ps` tells what is served"
    )
    stubs = [line for line in started.values() if line[0].endswith(b"triton_python_backend_stub")]
    assert stubs
    for line in stubs:
        assert not set(b" ".join(line).decode()) & set("$`'\";é"), line
    for folder in (serving.folder, odd_run, odd_run.parent, ROOT, Path.cwd()):
        assert not (folder / "PWN").exists()


def test_shared_memory_and_log_are_closed_to_others_from_the_first_moment(
    serving: Serving, odd_run: Path, endpoint: Endpoint
) -> None:
    assert serving.modes == {0o600}
    regions = list(SHARED_MEMORY.glob(f"cartwheel_{serving.process.pid}_*"))
    assert regions
    assert {stat.S_IMODE(region.stat().st_mode) for region in regions} == {0o600}
    logs = state_folder(odd_run) / "logs"
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in logs.glob("triton-*.log")} == {0o600}
    for folder in Path("/tmp").glob(f"cartwheel-{serving.process.pid}-*"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def raw_call(address: str, path: bytes, header: tuple[bytes, bytes]) -> bytes:
    """Call a method of gRPC with an empty message and a header that no library would send; return all bytes of the answer."""

    def literal(name: bytes, value: bytes) -> bytes:  # RFC 7541, 6.2.2, for less than 127 bytes
        return bytes([0, len(name)]) + name + bytes([len(value)]) + value

    def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
        return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body

    fixed = {b":method": b"POST", b":scheme": b"http", b":path": path, b":authority": b"x", b"te": b"trailers"}
    headers = b"".join(literal(*each) for each in [*fixed.items(), (b"content-type", b"application/grpc"), header])
    host, _, port = address.rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        frames = frame(4, 0, 0, b"") + frame(1, 4, 1, headers) + frame(0, 1, 1, bytes(5))
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames)
        try:
            while chunk := connection.recv(65536):
                answer += chunk
                connection.settimeout(0.5)
        except TimeoutError:
            pass
    return answer


def test_nothing_on_a_command_line_opens_what_is_closed(serving: Serving, endpoint: Endpoint) -> None:
    options: dict[bytes, bytes] = {}
    for line in serving.processes().values():
        options.update(part.split(b"=", 1) for part in line if part.startswith(b"--") and b"=" in part)
    name, _, value = options[b"--grpc-restricted-protocol"].partition(b":")[2].partition(b"=")
    service = b"/inference.GRPCInferenceService/"
    open_to_all = raw_call(endpoint.grpc, service + b"ServerLive", (b"x", b"y"))
    assert b"grpc-status\x010" in open_to_all, "the bare connection works where nothing is closed"
    for prefix in (b"triton-grpc-protocol-", b""):
        assert b"recommend" not in raw_call(endpoint.grpc, service + b"RepositoryIndex", (prefix + name, value))
    host, _, port = endpoint.http.rpartition(":")
    name, _, value = options[b"--http-restricted-api"].partition(b":")[2].partition(b"=")
    for written in (name, name.replace(b"\n", b"\r\n"), name.replace(b"\n", b"\r\n "), name.replace(b"\n", b" ")):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            body = (
                b"POST /v2/repository/index HTTP/1.1\r\nHost: x\r\n"
                + written
                + b": "
                + value
                + b"\r\nContent-Length: 2\r\n\r\n{}"
            )
            connection.sendall(body)
            assert not connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_second_server_of_a_run_leaves_the_first_ones_log(
    serving: Serving, odd_run: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    logs = state_folder(odd_run) / "logs"
    (first,) = logs.glob("triton-*.log")
    before = first.read_bytes()
    taken = endpoint.grpc.rpartition(":")[2]
    command = [sys.executable, "-m", "cartwheel.cli.main", "serve", str(odd_run), "--grpc-port", taken]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=environment)
    assert f"serve.grpc_port = {taken} is taken" in second.stderr
    assert first.read_bytes()[: len(before)] == before
    assert first.exists()
    assert Endpoint.read(state_folder(odd_run) / ENDPOINT) == endpoint


def test_each_server_has_its_own_log_and_only_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    ended = [f"triton-2024010{day % 9 + 1}T0000{day:02}-999999{day:02}.log" for day in range(15)]
    running = f"triton-20230101T000000-{os.getppid()}.log"
    for name in [*ended, running, "of_mine.log"]:
        (logs / name).touch()
    log = log_file(tmp_path)
    log.touch()
    left = {path.name for path in logs.iterdir()}
    assert {running, "of_mine.log", log.name, "triton.log"} <= left
    assert len(left & set(ended)) == 9
    assert left & set(ended) == set(sorted(ended)[-9:])
    assert (logs / "triton.log").resolve() == log


def test_a_run_that_can_be_written_keeps_its_own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run = tmp_path / "run"
    run.mkdir()
    assert state_folder(run) == run
    assert state_folder(tmp_path / "missing") == tmp_path / "missing"
    run.chmod(0o555)
    elsewhere = state_folder(run)
    assert elsewhere.is_relative_to(tmp_path / "state" / "cartwheel")
    assert elsewhere == state_folder(tmp_path / "run" / ".." / "run")
    assert not elsewhere.exists(), "asking makes no folder"
    (tmp_path / "other").mkdir()
    same_name = tmp_path / "other" / "run"
    same_name.mkdir(mode=0o555)
    assert state_folder(same_name) != elsewhere


def test_what_sets_modes_does_nothing_where_the_filter_can_be_set(tmp_path: Path) -> None:
    script = f"""
import os, sys
from serving.server.private_exec import ignore_fchmod
print(ignore_fchmod())
file = os.open({str(tmp_path / "file")!r}, os.O_CREAT | os.O_RDWR, 0o600)
os.fchmod(file, 0o644)
print(oct(os.fstat(file).st_mode & 0o777))
"""
    done: Any = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    could, mode = done.stdout.split()
    if could == "False":
        pytest.skip(
            "THIS KERNEL OR PROCESSOR TAKES NO FILTER OF SYSTEM CALLS: shared memory is closed to others once the server is ready"
        )
    assert mode == "0o600"
