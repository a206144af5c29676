"""The gateway as ``cartwheel serve`` sees it: a process that is started before Triton answers, watched, drained and ended.

It holds the ports that callers ask. Triton listens at a Unix socket in a folder of this user's alone, and for health, metadata and
metrics at free ports of 127.0.0.1. The gateway finds it through a link in its own folder, which is set anew with each start of Triton.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from cartwheel.core.errors import CartwheelError, ServerError, UsageError
from serving.gateway.options import TRITON_SOCKET, Options
from serving.server.endpoint import Endpoint
from serving.server.guarded_process import GuardedProcess
from serving.server.log_file import LogFile
from serving.server.model_folders import workspace
from serving.server.ports import HeldPorts, accepts, join
from serving.server.state_folder import live_folder
from serving.settings import ServeSettings

PORT_OPTIONS: Final = ("grpc_port", "http_port", "metrics_port")
_LINK, _METRICS, _OPTIONS = "triton", "metrics", "options.json"
_POLL_SECONDS: Final = 0.02
_END_SECONDS: Final = 5.0
_ERROR: Final = re.compile(r"^error: (?P<text>.+)$", re.MULTILINE)


class Front:
    """One gateway.

    Args:
        repository: absolute path of what Triton serves.
        settings: where to listen, and limits.
        log: file for its output.
        health: ``host:port`` at which it learns whether Triton answers.
        target: gRPC target of a Triton that listens for itself; None for one that :meth:`lead_to` leads to.

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
        self._triton: tuple[Path, str] | None = None

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
            if self._triton is not None:
                self.lead_to(*self._triton)
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

    def lead_to(self, door: Path, metrics: str) -> None:
        """Lead it to a Triton that has been started: the folder of its socket, and ``host:port`` of its metrics."""
        self._triton = (door, metrics)
        if self._folder is not None and self._folder.is_dir():
            aside = self._folder / f".{_LINK}"
            aside.unlink(missing_ok=True)
            aside.symlink_to(door)
            os.replace(aside, self._folder / _LINK)
            (self._folder / _METRICS).write_text(metrics, encoding="utf-8")

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
            repository=self._repository,
            triton=self._target or f"unix:{folder / _LINK / TRITON_SOCKET}",
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
            f"The gateway would listen at {address}, where other machines may reach it, and ask nobody who they are.",
            "Set serve.keys_file (`cartwheel keys add`), serve.tls_client_roots, or serve.anyone = true if the network keeps others out.",
        )
