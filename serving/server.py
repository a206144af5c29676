"""The embedded Triton: started, awaited, watched and stopped.

Start-up is kept short: model configurations are complete, so Triton's auto-completion, which starts every Python model a second
time, is off; so are the memory pools and metrics of GPUs, which the embedded binary does not use.

HTTP and metrics answer without TLS and so give health, metadata and metrics alone; inference is gRPC's. Triton's shared-memory,
model-repository, trace and log protocols, which let a caller reach into the server, are closed on both.

Nothing of a server is open to other users of the machine: neither the log nor the shared memory in which requests lie, and the command
line, which ``ps`` shows to all, holds no secret. No path that a user chose reaches a shell (:func:`serving.model_folders.workspace`).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import queue
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType

from cartwheel.errors import ServerError, UsageError
from serving import private_exec, triton_log
from serving.endpoint import Endpoint
from serving.guarded_process import GuardedProcess
from serving.model_folders import checked_repository, staged_repository, workspace
from serving.ports import HeldPorts, accepts, join, split, taken
from serving.settings import ServeSettings
from serving.triton_binary import TritonBinary, find_triton_binary

_PORT_OPTIONS = ("grpc_port", "http_port", "metrics_port")
_PORT_ATTEMPTS = 3
_POLL_SECONDS = 0.02
_END_SECONDS = 15.0
_CLOSED_GRPC = "shared-memory,model-repository,trace,logging"
_CLOSED_HTTP = f"inference,statistics,{_CLOSED_GRPC}"
# Triton opens these protocols to requests that bear a header of this name and value. No request can: a name with a line break in it
# cannot be sent, and Triton's gRPC refuses any name but one of small letters, digits, '-', '_' and '.'.
_CLOSED_TO_ALL = "closed\nto all=0"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CARTWHEEL_THREADS")


class _PortLostError(Exception):
    """Another program took a chosen port between the choice and Triton's bind."""


class EmbeddedServer:
    """Triton serving one model repository, as a child process that cannot outlive this one.

    As a context manager it is ready inside the block; the end of the block ends it at once (:meth:`stop` without draining).

    Args:
        repository: model repository folder that ``cartwheel export`` wrote.
        settings: where to listen, and limits.
        log: file for Triton's output; an earlier one is kept beside it as ``<name>.previous``. Without it the output goes to
            a temporary file, which stays only if Triton fails, and is then named in the error.

    Raises:
        RunError: if the repository is missing, or lacks a file without which Triton would wait for ever.
        UsageError: if a TLS file of the settings is missing.
        MissingDependencyError: if there is no Triton binary.
    """

    def __init__(self, repository: Path, settings: ServeSettings | None = None, *, log: Path | None = None) -> None:
        self._settings = settings or ServeSettings()
        self._repository = checked_repository(repository)
        _check_tls_files(self._settings)
        self._binary = find_triton_binary()
        self._given_log = log
        self._log = log or Path(tempfile.gettempdir()) / f"cartwheel-triton-{os.getpid()}-{secrets.token_hex(4)}.log"
        self._process: GuardedProcess | None = None
        self._endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where the running server can be reached.

        Raises:
            ServerError: if it is not running.
        """
        if self._endpoint is None:
            raise ServerError("The server has not been started.", "Call start() first.")
        self.check()
        return self._endpoint

    @property
    def grpc_address(self) -> str:
        """``host:port`` that clients ask."""
        return self.endpoint.grpc

    @property
    def http_address(self) -> str:
        """``host:port`` of health and metadata."""
        return self.endpoint.http

    @property
    def log(self) -> Path:
        """The file that holds Triton's output."""
        return self._log

    def start(self) -> Endpoint:
        """Start Triton and wait until every model answers.

        Returns:
            The addresses.

        Raises:
            ServerError: if a fixed port is taken, a model does not load, or ``start_seconds`` pass; the message names which.
        """
        if self._process is not None:
            return self.endpoint
        _begin_log(self._log)
        for _ in range(_PORT_ATTEMPTS):
            with contextlib.suppress(_PortLostError):
                os.truncate(self._log, 0)
                return self._start_once()
        raise ServerError(
            f"{_PORT_ATTEMPTS} times another program took a port that had just been free.",
            "Set serve.grpc_port, serve.http_port and serve.metrics_port to ports that nothing else uses.",
        )

    def check(self) -> None:
        """Do nothing if the server runs.

        Raises:
            ServerError: if it has ended, with how it ended and the last lines of its log.
        """
        if self._process is not None and self._process.ended_by_itself:
            raise ServerError(
                f"Triton ended by itself ({self._process.outcome}) while serving. Its log ends with:\n"
                f"{triton_log.last_lines(triton_log.read_tail(self._log))}\n",
                f"Start the server again; the whole log is {self._log}.",
            )

    def stop(self, *, drain: bool = True) -> None:
        """End Triton and everything that it started; harmless if it is not running.

        Args:
            drain: let requests in flight finish first, for at most ``drain_seconds``; Triton itself takes some three seconds for
                that. Without it the end comes at once.
        """
        process, self._process, self._endpoint = self._process, None, None
        if process is None:
            return
        failed = process.ended_by_itself
        if drain:
            process.drain()
            process.wait(self._settings.drain_seconds + _END_SECONDS)
        process.kill()
        if not process.wait(_END_SECONDS):
            raise ServerError("Triton did not end, although it was killed.", "See which process holds it with `ps`.")
        if self._given_log is None and not failed:
            self._log.unlink(missing_ok=True)

    def serve_forever(self, on_ready: Callable[[Endpoint], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then drain and stop; a second signal stops at once. For the main thread.

        Args:
            on_ready: called with the addresses once the server is ready.

        Raises:
            ServerError: as soon as Triton ends by itself, so that a supervisor starts everything anew.
            UsageError: if called outside the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            raise UsageError("serve_forever was called outside the main thread.", "Use start() and stop() there.")
        try:
            endpoint = self.start()
            with _signals() as events:
                if on_ready is not None:
                    on_ready(endpoint)
                self._serve(events)
        finally:
            self.stop(drain=False)

    def _serve(self, events: queue.SimpleQueue[str]) -> None:
        process = self._process
        assert process is not None
        process.when_ended(lambda: events.put("ended"))
        if events.get() == "ended":
            self.check()
        process.drain()
        if events.get() == "signal":
            process.kill()

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop(drain=False)

    def _start_once(self) -> Endpoint:
        settings = self._settings
        identity = f"cartwheel-{os.getpid()}-{secrets.token_hex(4)}"
        with HeldPorts(settings.host, {option: getattr(settings, option) for option in _PORT_OPTIONS}) as ports:
            self._process = self._launch(identity, ports)
            endpoint = Endpoint(
                grpc=join(ports.address, ports["grpc_port"]),
                http=join(ports.address, ports["http_port"]),
                metrics=join(ports.address, ports["metrics_port"]),
                pid=os.getpid(),
                tls=settings.tls_certificate is not None,
            )
            try:
                self._await(endpoint, identity)
            except BaseException:
                self._process.kill()
                self._process.wait(_END_SECONDS)
                self._process = None
                raise
        self._endpoint = endpoint
        return endpoint

    def _launch(self, identity: str, ports: HeldPorts) -> GuardedProcess:
        folder = workspace(identity)
        shared_memory = identity.replace("-", "_") + "_"
        try:
            return GuardedProcess(
                _command(self._binary, self._repository, self._settings, identity, ports, folder, shared_memory),
                environment=self._binary.environment() | dict.fromkeys(_THREAD_VARIABLES, str(self._settings.threads)),
                log=self._log,
                workspace=folder,
                shared_memory=shared_memory,
                grace_seconds=self._settings.drain_seconds + _END_SECONDS / 2,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _await(self, endpoint: Endpoint, identity: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._settings.start_seconds
        while not _is_ready(endpoint, identity):
            if self._process.wait(_POLL_SECONDS):
                raise self._failure()
            if time.monotonic() > deadline:
                raise self._too_slow()
        self._process.close_to_others()

    def _failure(self) -> Exception:
        assert self._process is not None
        text = triton_log.read_tail(self._log)
        port = triton_log.taken_port(text)
        for option in _PORT_OPTIONS if port else ():
            if getattr(self._settings, option) == port:
                return taken(port or 0, self._settings.host, option)
        if port:
            return _PortLostError()
        fix = f"Write the repository again with `cartwheel export`; Triton's whole log is {self._log}."
        if broken := triton_log.failed_models(text):
            reasons = "; ".join(f"model {model}: {reason}" for model, reason in broken.items())
            return ServerError(f"Triton could not load the repository {self._repository}: {reasons}.", fix)
        return ServerError(
            f"Triton did not start ({self._process.outcome}). Its log ends with:\n{triton_log.last_lines(text)}\n", fix
        )

    def _too_slow(self) -> ServerError:
        text = triton_log.read_tail(self._log)
        loading = triton_log.still_loading(text)
        where = f"still loading {', '.join(loading)}" if loading else "not answering yet"
        if complaint := triton_log.stub_complaint(text):
            where += f" ({complaint})"
        return ServerError(
            f"Triton was not ready within {self._settings.start_seconds:g} s (serve.start_seconds): {where}.",
            f"Give it more time with serve.start_seconds, or see what it waits for in {self._log}.",
        )


def _command(
    binary: TritonBinary,
    repository: Path,
    settings: ServeSettings,
    identity: str,
    ports: HeldPorts,
    folder: Path,
    shared_memory: str,
) -> list[str]:
    is_ipv6 = ":" in ports.address
    options = {
        "id": identity,
        "model-repository": str(staged_repository(repository, folder, settings)),
        "backend-directory": str(binary.lay_out(folder)),
        "model-load-thread-count": str(max(4, os.cpu_count() or 1)),
        "pinned-memory-pool-byte-size": "0",
        "allow-gpu-metrics": "false",
        "exit-timeout-secs": str(math.ceil(settings.drain_seconds)),
        "grpc-address": f"[{ports.address}]" if is_ipv6 else ports.address,
        "http-address": f"ipv6:{ports.address}" if is_ipv6 else ports.address,
        "grpc-port": str(ports["grpc_port"]),
        "http-port": str(ports["http_port"]),
        "metrics-port": str(ports["metrics_port"]),
        "grpc-restricted-protocol": f"{_CLOSED_GRPC}:{_CLOSED_TO_ALL}",
        "http-restricted-api": f"{_CLOSED_HTTP}:{_CLOSED_TO_ALL}",
        "backend-config": f"python,shm-region-prefix-name={shared_memory}",
    }
    if settings.tls_certificate is not None:
        kind = "grpc-use-ssl" if settings.tls_client_roots is None else "grpc-use-ssl-mutual"
        options |= {kind: "true", "grpc-server-cert": str(settings.tls_certificate), "grpc-server-key": str(settings.tls_key)}
    if settings.tls_client_roots is not None:
        options["grpc-root-cert"] = str(settings.tls_client_roots)
    shown = f"tritonserver of {repository}"  # so that `ps` tells which repository is served
    become = [sys.executable, "-I", "-S", private_exec.__file__, shown, str(binary.executable)]
    return [*become, "--disable-auto-complete-config", *(f"--{name}={value}" for name, value in options.items())]


def _check_tls_files(settings: ServeSettings) -> None:
    for option in ("tls_certificate", "tls_key", "tls_client_roots"):
        path: Path | None = getattr(settings, option)
        if path is not None and not path.is_file():
            raise UsageError(f"serve.{option} is {path}, which is not a file.", "Name a PEM file.")


def _begin_log(log: Path) -> None:
    """Start an empty log, keeping the one before: a supervisor's restart must not erase why the last server ended."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            os.replace(log, log.with_name(f"{log.name}.previous"))
        log.touch(0o600)
        log.chmod(0o600)
    except OSError as error:
        raise UsageError(
            f"Triton's log cannot be written to {log} ({error.strerror}).", "Name a file in a writable folder."
        ) from error


def _is_ready(endpoint: Endpoint, identity: str) -> bool:
    """Say whether our own server answers that all its models are ready, and the last port it opens is open."""
    connection = http.client.HTTPConnection(*split(endpoint.http), timeout=1.0)
    try:
        connection.request("GET", "/v2/health/ready")
        ready = connection.getresponse()
        ready.read()
        if ready.status != http.client.OK:
            return False
        connection.request("GET", "/v2")
        name = json.loads(connection.getresponse().read()).get("name")
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return name == identity and accepts(endpoint.metrics)


@contextlib.contextmanager
def _signals() -> Iterator[queue.SimpleQueue[str]]:
    """Yield a queue that receives ``signal`` on SIGTERM and SIGINT; its ``put`` is safe in a signal handler."""
    events: queue.SimpleQueue[str] = queue.SimpleQueue()

    def note(_number: int, _frame: FrameType | None) -> None:
        events.put("signal")

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield events
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
