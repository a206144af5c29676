"""The gateway as ``cartwheel serve`` sees it: a process that is started before Triton answers, watched, drained and ended.

It holds the ports that callers ask. Triton listens at a Unix socket in a folder of this user's alone, and for health, metadata and
metrics at free ports of 127.0.0.1. The gateway finds it through a link in its own folder, which is set anew with each start of Triton.
While a new version is brought in there are two Tritons, each with a link of its own and a share of the shoppers (:class:`Lead`).
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from cartwheel.core.errors import CartwheelError, ServerError, UsageError
from cartwheel.core.files import write_json
from serving.gateway.options import TRITON_SOCKET, Lane, Options
from serving.server.endpoint import Endpoint
from serving.server.guarded_process import GuardedProcess
from serving.server.log_file import LogFile
from serving.server.model_folders import workspace
from serving.server.ports import HeldPorts, accepts, join
from serving.server.state_folder import live_folder
from serving.settings import ServeSettings


@dataclass(frozen=True)
class Lead:
    """One Triton behind the gateway.

    Attributes:
        repository: absolute path of what it serves.
        door: the folder of its socket.
        metrics: ``host:port`` of its metrics.
        share: of the shoppers that it answers.
    """

    repository: Path
    door: Path
    metrics: str
    share: float = 1.0


PORT_OPTIONS: Final = ("grpc_port", "http_port", "metrics_port")
_LINK, _METRICS, _OPTIONS, _LANES, _CONTROL = "triton", "metrics", "options.json", "lanes.json", "control"
_POLL_SECONDS: Final = 0.02
_END_SECONDS: Final = 5.0
_TAKEN_SECONDS: Final = 20.0
"""How long the gateway may take to read a version, beyond the time that requests under way may take."""
_ERROR: Final = re.compile(r"^error: (?P<text>.+)$", re.MULTILINE)


class Front:
    """One gateway.

    Args:
        repository: absolute path of what Triton serves.
        settings: where to listen, and limits.
        log: file for its output.
        health: ``host:port`` at which it learns whether Triton answers.
        target: gRPC target of a Triton that listens for itself; None for those that :meth:`found` and :meth:`route` name.

    Raises:
        UsageError: if the host is not an address of this machine, or others reach it and nothing says who may ask.
        ServerError: if a port is taken.
    """

    def __init__(self, repository: Path, settings: ServeSettings, log: Path, health: str, target: str | None = None) -> None:
        self._repository, self._settings, self._health, self._target = repository, settings, health, target
        self._ports = HeldPorts(settings.host, {option: getattr(settings, option) for option in PORT_OPTIONS})
        try:
            check_callers(settings, self._ports.address)
        except BaseException:
            self._ports.release()
            raise
        self._log = LogFile(log)
        self._process: GuardedProcess | None = None
        self._folder: Path | None = None
        self._leads: list[tuple[str, Lead]] = []
        self._made = 0
        self._lock = threading.RLock()

    @property
    def log(self) -> Path:
        """The file of its output."""
        return self._log.path

    def start(self) -> None:
        """Begin to start it; :meth:`await_ready` waits."""
        if self._process is None:
            self._log.begin()
        else:
            self._log.go_on()
        identity = f"cartwheel-gateway-{os.getpid()}-{secrets.token_hex(4)}"
        folder = self._folder = workspace(identity)
        try:
            self._options(folder).write(folder / _OPTIONS)
            with self._lock:
                self._write(self._leads)
            self._process = GuardedProcess(
                [sys.executable, "-m", "serving.gateway", str(folder / _OPTIONS)],
                environment={**os.environ, "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"},
                log=self._log.path,
                workspace=folder,
                shared_memory="",
                grace_seconds=self._settings.drain_seconds + _END_SECONDS,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def found(self, lead: Lead) -> None:
        """Note where the Triton of a version is that is served, or, if none is yet, is to be: it keeps the share that it has."""
        with self._lock:
            known = [
                (name, replace(lead, share=old.share) if old.repository == lead.repository else old) for name, old in self._leads
            ]
            self._leads = known or [(self._name(), lead)]
            self._write(self._leads)

    def route(self, shares: Mapping[Path, float], new: Lead | None = None) -> None:
        """Serve these versions, and return when those that are no longer served have nothing left to do.

        A gateway that is being started again meanwhile begins with them.

        Args:
            shares: repository -> share of the shoppers, of versions that are served and shall be.
            new: a version to be served beside them.

        Raises:
            ServerError: if the gateway does not take them; then it serves what it served.
        """
        with self._lock:
            before = self._leads
            kept = [(name, replace(lead, share=shares[lead.repository])) for name, lead in before if lead.repository in shares]
            self._leads = kept if new is None else [*kept, (self._name(), new)]
            self._write([*self._leads, *before])
        self._take(before)

    def back_to(self, lead: Lead) -> None:
        """Serve one version alone, whether or not it is served still; raises as :meth:`route` does."""
        if any(known.repository == lead.repository for _, known in self._leads):
            self.route({lead.repository: 1.0})
        else:
            self.route({}, lead)

    def _take(self, before: list[tuple[str, Lead]]) -> None:
        try:
            self.ask(lambda: {"do": "route", "lanes": self._lanes()}, self._settings.drain_seconds + _TAKEN_SECONDS)
        except ServerError:
            with self._lock:
                self._leads = before
                self._write(before)
            raise

    def ask(self, order: Callable[[], Mapping[str, Any]], seconds: float = 5.0) -> dict[str, Any]:
        """Ask the gateway over its control socket; one that is not there is asked again until it is, or the time is over.

        Args:
            order: gives what is asked; see :mod:`serving.gateway.control`.
            seconds: the time.

        Raises:
            ServerError: if it does not answer in time, or refuses.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self._answer(order(), deadline - time.monotonic())
                break
            except (OSError, ValueError) as error:
                if time.monotonic() > deadline:
                    raise ServerError(f"The gateway does not answer cartwheel serve ({error}).", f"See {self.log}.") from error
            time.sleep(_POLL_SECONDS)
        if "error" in answer:
            raise ServerError(f"The gateway refuses: {answer['error']}", f"See {self.log}.")
        return answer

    def _answer(self, order: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        if self._folder is None:
            raise ConnectionRefusedError("it has not been started")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(max(_POLL_SECONDS, seconds))
            line.connect(str(self._folder / _CONTROL))
            line.sendall(json.dumps(order).encode() + b"\n")
            with line.makefile("rb") as answers:
                found: dict[str, Any] = json.loads(answers.readline() or b"it hung up")
        return found

    def _name(self) -> str:
        self._made += 1
        return f"{_LINK}{self._made}"

    def _lanes(self) -> list[dict[str, Any]]:
        """Return what the gateway reads; before Triton is ready, the link that will lead to it."""
        assert self._folder is not None
        first = (f"{_LINK}{self._made + 1}", Lead(self._repository, self._folder, ""))
        return [
            Lane(lead.repository, self._target or f"unix:{self._folder / name / TRITON_SOCKET}", lead.share).to_json()
            for name, lead in self._leads or [first]
        ]

    def _write(self, links: Sequence[tuple[str, Lead]]) -> None:
        """Write into the gateway's folder, if there is one, what it begins with, and the links that lead to each Triton."""
        if self._folder is None or not self._folder.is_dir():
            return
        for name, lead in links:
            aside = self._folder / f".{name}"
            aside.unlink(missing_ok=True)
            aside.symlink_to(lead.door)
            os.replace(aside, self._folder / name)
        write_json(self._folder / _LANES, self._lanes())
        if self._leads:
            main = max((lead for _, lead in self._leads), key=lambda lead: lead.share)
            (self._folder / _METRICS).write_text(main.metrics, encoding="utf-8")

    def await_ready(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Wait until it listens, or ``cancelled`` says so.

        Raises:
            ServerError: if it ends, or does not within ``start_seconds``.
        """
        assert self._process is not None
        deadline = time.monotonic() + self._settings.start_seconds
        while not all(accepts(join(self._ports.address, self._ports[option])) for option in PORT_OPTIONS):
            if cancelled():
                return
            if self._process.wait(_POLL_SECONDS):
                raise self._failure(f"ended as it began ({self._process.outcome})")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready within {self._settings.start_seconds:g} s (serve.start_seconds)")

    def endpoint(self, triton: Endpoint) -> Endpoint:
        """Return the addresses that callers ask, in place of those of Triton."""
        assert self._folder is not None
        grpc, http, metrics = (join(self._ports.address, self._ports[option]) for option in PORT_OPTIONS)
        return Endpoint(grpc, http, metrics, triton.pid, self._settings.tls_certificate is not None, self._health)

    def when_ended(self, call: Callable[[str], None]) -> None:
        """Have ``call`` called with how it ended, in another thread, if it ends although nobody asked it to."""
        process = self._process
        assert process is not None

        def ended() -> None:
            if process.ended_by_itself:
                call(process.outcome)

        process.when_ended(ended)

    def drain(self) -> None:
        """Have it refuse new requests, and wait until those under way are answered."""
        if self._process is not None:
            self._process.drain()
            self._process.wait(self._settings.drain_seconds + 2 * _END_SECONDS)

    def __enter__(self) -> Front:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(_END_SECONDS)
        self._ports.release()
        self._log.release()

    def _options(self, folder: Path) -> Options:
        return Options(
            lanes=folder / _LANES,
            control=folder / _CONTROL,
            triton_metrics=folder / _METRICS,
            live=live_folder(self._repository, self._settings),
            health=self._health,
            address=self._ports.address,
            grpc_port=self._ports["grpc_port"],
            http_port=self._ports["http_port"],
            metrics_port=self._ports["metrics_port"],
            settings=self._settings,
        )

    def _failure(self, what: str) -> CartwheelError:
        text = self._log.read_tail()
        if told := _ERROR.findall(text):
            return ServerError(f"The gateway {what}: {told[-1]}")
        return ServerError(f"The gateway {what}. Its log ends with:\n{text[-1500:]}\n", f"See {self.log}.")


def check_callers(settings: ServeSettings, address: str) -> None:
    """Check that it is said who may ask, where others than this machine's users reach the gateway.

    Raises:
        UsageError: if it is not.
    """
    guarded = settings.keys_file is not None or settings.tls_client_roots is not None or settings.anyone
    if not guarded and not ipaddress.ip_address(address).is_loopback:
        raise UsageError(
            f"The gateway would listen at {address}, where other machines can reach it, without authentication.",
            "Set serve.keys_file (`cartwheel keys add`), serve.tls_client_roots, or serve.anyone = true if the network keeps others out.",
        )
