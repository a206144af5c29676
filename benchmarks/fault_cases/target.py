"""The server that is harmed: one ``cartwheel serve`` with a run of its own settings, its processes, and honest questions to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2

from benchmarks.fault_cases.case import Counts
from benchmarks.load import Answer, Request, ask, compare
from cartwheel.core.errors import RunError, ServerError
from serving.server.endpoint import ENDPOINT, Endpoint
from serving.server.state_folder import state_folder

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
DEADLINE_SECONDS: Final = 10.0
"""Within which an honest request is answered, or it counts as a hang."""
GIVE_UP_SECONDS: Final = 30.0
"""After which a server that does not answer is given up."""
_START_SECONDS: Final = 120.0
_STUB: Final = "triton_python_b"  # what the kernel keeps of its name
_ROOT: Final = Path(__file__).resolve().parents[2]
_PAUSE_SECONDS: Final = 0.05
_TOLERANCE: Final = 1e-4


@dataclass(frozen=True)
class Shop:
    """What may be asked about.

    Attributes:
        run: the run directory.
        users: known user ids.
        items: the catalogue.
        as_of: instant of the snapshot, Unix microseconds.
        max_k: the most items that one answer can hold.
        has_cart: whether the run has a cart model.
    """

    run: Path
    users: Sequence[str]
    items: Sequence[str]
    as_of: int
    max_k: int
    has_cart: bool


class Server:
    """A running ``cartwheel serve``; a context manager that ends it.

    Args:
        shop: what it serves.
        folder: an empty folder for its configuration and its output.
        settings: the section ``[serve]``, where it differs from the defaults.
        quick: whether cases should do everything fewer times.
        gateway: whether the gateway stands before Triton.
        environment: gives variables of its environment, for the folder.
    """

    def __init__(
        self,
        shop: Shop,
        folder: Path,
        settings: Mapping[str, str | int | float] | None = None,
        *,
        quick: bool = False,
        gateway: bool = True,
        environment: Callable[[Path], Mapping[str, str]] | None = None,
    ) -> None:
        self._environment = environment
        self.shop, self.folder, self.quick, self.has_gateway = shop, folder, quick, gateway
        self._settings = {"gateway": "on" if gateway else "off", **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._expected: Answer | None = None

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            ServerError: if it ends or is not ready in time, with the last lines of its output; or if it answers no honest request.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "serve.toml"
        lines = [
            f"run = {json.dumps(str(self.shop.run))}",
            "[serve]",
            *(f"{k} = {json.dumps(v)}" for k, v in self._settings.items()),
        ]
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        (state_folder(self.shop.run) / ENDPOINT).unlink(missing_ok=True)
        own = dict(self._environment(self.folder)) if self._environment is not None else {}
        path = os.pathsep.join([*filter(None, [own.get("PYTHONPATH")]), str(_ROOT)])
        environment = {**os.environ, **own, "PYTHONPATH": path}
        with self.output.open("wb") as output:
            command = [sys.executable, "-m", "cartwheel.cli.main", "serve", str(config)]
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=_ROOT, env=environment)
        deadline = time.monotonic() + _START_SECONDS
        while not (state_folder(self.shop.run) / ENDPOINT).is_file():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise ServerError(f"The server did not start; its output ends with:\n{self.last_output()}")
            time.sleep(_PAUSE_SECONDS)
        [self._expected] = ask(self.endpoint.grpc, [self.honest_payload()])

    def end(self) -> None:
        """End it at once; harmless if it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(GIVE_UP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._process is not None:
            self._process.wait()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process of the command; it owns Triton."""
        if self._process is None:
            raise ServerError("The server has not been started.", "Call start() first.")
        return self._process

    @property
    def output(self) -> Path:
        """The file with what the command prints."""
        return self.folder / "output.txt"

    def last_output(self) -> str:
        """Return the last lines that the command printed."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-5:])

    @property
    def endpoint(self) -> Endpoint:
        """Where it can be reached now; read anew each time, since a restart may change it."""
        return Endpoint.read(state_folder(self.shop.run) / ENDPOINT)

    @property
    def triton(self) -> int:
        """Process id of Triton itself.

        Raises:
            ServerError: if there is none at this moment.
        """
        found = [pid for pid, name in self._descendants().items() if name == "tritonserver"]
        if not found:
            raise ServerError("No Triton runs below the server at this moment.")
        return found[0]

    @property
    def gateway(self) -> int:
        """Process id of the gateway.

        Raises:
            ServerError: if there is none at this moment.
        """
        for pid in self._descendants():
            if b"\0serving.gateway\0" in (Path("/proc") / str(pid) / "cmdline").read_bytes():
                return pid
        raise ServerError("No gateway runs below the server at this moment.")

    @property
    def stubs(self) -> list[int]:
        """Process ids of the programs that run the Python models."""
        return [pid for pid, name in self._descendants().items() if name == _STUB]

    def processes(self) -> set[int]:
        """Return the process ids of Triton and of the programs that run the models; none where the server is down."""
        return {pid for pid, name in self._descendants().items() if name in ("tritonserver", _STUB)}

    def resident_bytes(self) -> int:
        """Return the memory of all its processes, what several share counted in part for each (PSS)."""
        total = 0
        for pid in (self.process.pid, *self._descendants()):
            try:
                lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines()
            except OSError:  # it has just ended
                continue
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return total

    def scaled(self, times: int) -> int:
        """Return how often a case does what it does ``times`` in full."""
        return max(1, times // 50) if self.quick else times

    def honest_payload(self) -> bytes:
        """Return a serialised ``recommend`` request whose answer is known."""
        return Request(self.shop.users[0], timestamp=self.shop.as_of).serialised("recommend")

    def channel(self) -> grpc.Channel:
        """Return a new connection; close it, or use it in a ``with``."""
        return grpc.insecure_channel(self.endpoint.grpc, options=[("grpc.max_send_message_length", -1)])

    def is_honest(self, answer: bytes) -> bool:
        """Whether a serialised answer to :meth:`honest_payload` is the one that the server gave when it started."""
        assert self._expected is not None
        return not compare([self._expected], [Answer.parsed(answer)], _TOLERANCE)[1]

    def recovered(self, counts: Counts) -> None:
        """Ask honest requests until one is answered as it was at the start, and count: seconds, hangs and a wrong answer.

        A server that does not answer for ``GIVE_UP_SECONDS`` counts as a crash.
        """
        begun = time.monotonic()
        failed = ""
        while (spent := time.monotonic() - begun) < GIVE_UP_SECONDS:
            counts.requests += 1
            try:
                with self.channel() as channel:
                    answer = channel.unary_unary(METHOD)(self.honest_payload(), timeout=DEADLINE_SECONDS)
            except (grpc.RpcError, ServerError) as error:
                failed = describe(error)
                counts.hangs += "DEADLINE_EXCEEDED" in failed
                time.sleep(_PAUSE_SECONDS)
                continue
            if not self.is_honest(answer):
                counts.wrong += 1
                counts.note("an honest request is answered differently than before")
            counts.seconds = max(counts.seconds, spent if failed else 0.0)
            return
        counts.crashes += 1
        counts.seconds = max(counts.seconds, spent)
        counts.note(f"no honest request is answered for {GIVE_UP_SECONDS:g} s: {failed}")

    def _descendants(self) -> dict[int, str]:
        """Process id -> name of all that the command started, directly or not."""
        parents: dict[int, tuple[int, str]] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                head, _, tail = (folder / "stat").read_text(errors="replace").rpartition(")")
            except OSError:
                continue
            parents[int(folder.name)] = (int(tail.split()[1]), head.partition("(")[2])
        found: dict[int, str] = {}
        below = {self.process.pid}
        while below:
            below = {pid for pid, (parent, _) in parents.items() if parent in below and pid not in found}
            found.update({pid: parents[pid][1] for pid in below})
        return found


def describe(error: Exception) -> str:
    """Return what went wrong with a request in a short line that begins with the name of its status."""
    if isinstance(error, grpc.RpcError):
        call: Any = error
        return f"{call.code().name}: {str(call.details()).splitlines()[0] if call.details() else ''}"
    return f"{type(error).__name__}: {error}"


def shop_of(run: Path) -> Shop:
    """Read what may be asked of a run.

    Raises:
        RunError: if it is not a whole run with an embedded repository.
    """
    from serving.export.run_files import item_ids, read_table
    from serving.local import read_metadata

    metadata = read_metadata(run / "repository")
    if metadata["target"] != "embedded":
        raise RunError(f"The repository of {run} is for a Triton of one's own.", "Export it with target = 'embedded'.")
    users = read_table(run / "snapshot" / "users.parquet")["user_id"].to_pylist()
    return Shop(run, users, item_ids(run), int(metadata["as_of_us"]), int(metadata["max_k"]), bool(metadata["has_cart"]))


def infer_request(model: str) -> Any:
    """Return an empty ModelInferRequest to a model."""
    return service_pb2.ModelInferRequest(model_name=model)
