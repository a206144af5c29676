"""The embedded Triton: started, awaited, watched and stopped.

It is started once, and started again by :mod:`serving.server.supervisor` where it is served for good.

Nothing of a server is open to other users of the machine: neither the log nor the shared memory in which requests lie, and the command
line, which ``ps`` shows to all, holds no secret. No path that a user chose reaches a shell
(:func:`serving.server.model_folders.workspace`).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from cartwheel.core.errors import ServerError, UsageError
from serving.gateway.options import TRITON_SOCKET
from serving.server import triton_log
from serving.server.endpoint import Endpoint
from serving.server.front import PORT_OPTIONS, Front
from serving.server.guarded_process import GuardedProcess
from serving.server.log_file import LogFile
from serving.server.model_folders import checked_repository, workspace
from serving.server.ports import HeldPorts, accepts, join, split, taken
from serving.server.questions import Answer, Questions
from serving.server.triton_binary import find_triton_binary
from serving.server.triton_command import check_tls_files, triton_command
from serving.settings import ServeSettings

_PORT_ATTEMPTS = 3
_POLL_SECONDS = 0.02
_END_SECONDS, _FLUSH_SECONDS = 15.0, 0.2
_GATE = "CARTWHEEL_GATE"
_PASS = "CARTWHEEL_PASS"  # noqa: S105  the name of a variable
_LEDGER, _LEDGER_BYTES = "CARTWHEEL_LEDGER", 4096
_QUEUE_SIZE, _QUEUE_SECONDS = "CARTWHEEL_QUEUE_SIZE", "CARTWHEEL_QUEUE_SECONDS"
_BEHIND = {
    "host": "127.0.0.1",
    "tls_certificate": None,
    "tls_key": None,
    "tls_client_roots": None,
    **dict.fromkeys(PORT_OPTIONS, 0),
}
"""How Triton listens behind the gateway, beside its socket."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CARTWHEEL_THREADS")


class _PassingError(Exception):
    """A start that failed of something that another try does not meet; its text says of what, as a clause."""


class _StopError(Exception):
    """The start was called off."""


class EmbeddedServer:
    """Triton serving one model repository, as a child process that cannot outlive this one.

    As a context manager it is ready inside the block; the end of the block ends it at once (:meth:`stop` without draining).

    Args:
        repository: model repository folder that ``cartwheel export`` wrote.
        settings: where to listen, and limits.
        log: file for Triton's output; an earlier one is kept beside it as ``<name>.previous``, and one that another server is
            writing is left to it: then the next free name is taken (``triton.2.log``). Without it the output goes to a temporary
            file, which stays only if Triton fails, and is then named in the error.
        say: called with a line when something happens that a person should know of.
        gateway_log: likewise for the gateway's, which :meth:`serve_forever` starts; beside ``log`` where it is left out.

    Raises:
        RunError: if the repository is missing, or lacks a file without which Triton would wait for ever.
        UsageError: if a TLS file of the settings is missing.
        MissingDependencyError: if there is no Triton binary.
    """

    def __init__(
        self,
        repository: Path,
        settings: ServeSettings | None = None,
        *,
        log: Path | None = None,
        say: Callable[[str], None] = lambda _line: None,
        gateway_log: Path | None = None,
    ) -> None:
        self._settings = self._listens = settings or ServeSettings()
        self._is_behind = False
        self._repository = checked_repository(repository)
        check_tls_files(self._settings)
        self._binary = find_triton_binary()
        self._is_log_given = log is not None
        self._log = LogFile(log or Path(tempfile.gettempdir()) / f"cartwheel-triton-{os.getpid()}-{secrets.token_hex(4)}.log")
        self._gateway_log = gateway_log or self._log.path.with_name(f"{self._log.path.stem}.gateway{self._log.path.suffix}")
        self._say = say
        self._ports: HeldPorts | None = None
        self._process: GuardedProcess | None = None
        self._endpoint: Endpoint | None = None
        self._questions: Questions | None = None
        self._gate: Path | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where the running server can be reached.

        Raises:
            ServerError: if it is not running.
        """
        if self._endpoint is None:
            raise _not_started()
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
    def door(self) -> Path:
        """The folder that holds the socket at which a Triton behind the gateway listens.

        Raises:
            ServerError: if it has not been started.
        """
        if self._gate is None:
            raise _not_started()
        return self._gate.parent

    @property
    def repository(self) -> Path:
        """Absolute path of what it serves."""
        return self._repository

    @property
    def metrics(self) -> str:
        """``host:port`` of the metrics of Triton itself; empty before it is started."""
        return self._endpoint.metrics if self._endpoint else ""

    @property
    def log(self) -> Path:
        """The file that holds Triton's output."""
        return self._log.path

    def log_since_start(self) -> str:
        """Return the end of what Triton has written since it was last started."""
        return self._log.read_tail()

    @property
    def log_end(self) -> str:
        """A sentence with the last lines of Triton's output since it was started."""
        return f"Its log ends with:\n{triton_log.last_lines(self.log_since_start())}\n"

    @property
    def settings(self) -> ServeSettings:
        """What it was made with."""
        return self._settings

    @property
    def process(self) -> GuardedProcess:
        """The running Triton under its guard.

        Raises:
            ServerError: if it has not been started.
        """
        if self._process is None:
            raise _not_started()
        return self._process

    @property
    def questions(self) -> Questions:
        """What tells whether the running Triton works.

        Raises:
            ServerError: if it has not been started.
        """
        if self._questions is None:
            raise _not_started()
        return self._questions

    def beside(self, repository: Path) -> EmbeddedServer:
        """Return a server of another repository, not yet started, that stands behind the same gateway.

        Raises:
            RunError: as the constructor does.
        """
        other = EmbeddedServer(repository, self._settings, log=self._log.wanted, say=self._say, gateway_log=self._gateway_log)
        other._stand_behind()
        return other

    def start(self, cancelled: Callable[[], bool] = lambda: False) -> Endpoint:
        """Start Triton and wait until every model answers.

        Args:
            cancelled: asked over and over while it starts; once it says yes, the start is called off and what was begun is ended.

        Returns:
            The addresses.

        Raises:
            ServerError: if a fixed port is taken, a model does not load, or ``start_seconds`` pass; the message names which.
        """
        if self._process is not None:
            return self.endpoint
        tries = [_PassingError()] * _PORT_ATTEMPTS
        for attempt in range(len(tries)):
            ports = self._ports = self._ports or HeldPorts(
                self._listens.host, {option: getattr(self._listens, option) for option in PORT_OPTIONS}
            )
            try:
                self._log.begin()
                return self._start_once(ports, cancelled)
            except _PassingError as error:
                tries[attempt] = error
                self._say(f"Triton did not start, for {error}; it is tried once more.")
                self._forget_ports()
            except BaseException:
                self._forget_ports()
                self._log.release()
                raise
        self._log.release()
        raise ServerError(
            f"Triton did not start in {len(tries)} tries, the last time for {tries[-1]}.",
            f"See Triton's log, {self.log}; if it was a port, set serve.grpc_port, serve.http_port and serve.metrics_port to free ones.",
        )

    def check(self) -> None:
        """Do nothing if the server runs.

        Raises:
            ServerError: if it has ended, with how it ended and the last lines of its log.
        """
        if self._process is not None and self._process.ended_by_itself:
            raise ServerError(
                f"Triton ended by itself ({self._process.outcome}) while serving. {self.log_end}",
                f"Start the server again; the whole log is {self.log}.",
            )

    def finish(self) -> None:
        """Refuse new requests with UNAVAILABLE and wait for the answers to the others, at most ``drain_seconds``.

        Requests are answered in about the order of arrival, so that questions that are asked now are answered once all others are; what
        another process is still reading at that moment gets a moment more. Triton's own way to stop would call its models unknown to
        new requests, and waits for ever for requests that it has lost count of.
        """
        deadline = time.monotonic() + self._settings.drain_seconds
        if self._gate is not None:
            with contextlib.suppress(FileNotFoundError):  # it is dead, and its folder gone
                self._gate.touch()
        if not self.questions:
            self.process.drain()
            self.process.wait(self._settings.drain_seconds + _END_SECONDS)
            return
        while (left := deadline - time.monotonic()) > 0 and not self.process.ended:
            found = self.questions.ask(left)
            if found.answer in {Answer.GOOD, Answer.BROKEN}:
                break
            time.sleep(_POLL_SECONDS)
        time.sleep(_FLUSH_SECONDS)

    def stop(self, *, drain: bool = True) -> None:
        """End Triton and everything that it started; harmless if it is not running.

        Args:
            drain: first :meth:`finish` the requests in flight.
        """
        if drain and self._process is not None and not self._process.ended:
            self.finish()
        process, self._process, self._endpoint = self._process, None, None
        self._forget_ports()
        if self._questions is not None:
            self._questions.close()
        if process is not None:
            failed = process.ended_by_itself
            process.kill()
            if not process.wait(_END_SECONDS):
                raise ServerError("Triton did not end, although it was killed.", "See which process holds it with `ps`.")
            if not self._is_log_given and not failed:
                self.log.unlink(missing_ok=True)
        self._log.release()

    def restart(self, cancelled: Callable[[], bool]) -> Endpoint:
        """End what is left of Triton and start it anew on the same ports, going on in the same log; see :meth:`start`.

        Args:
            cancelled: asked over and over while it starts; once it says yes, the start is called off and what was begun is ended.
        """
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(_END_SECONDS)
        if self._ports is None:
            raise _not_started()
        self._log.go_on()
        try:
            return self._start_once(self._ports, cancelled)
        except _PassingError as error:
            raise ServerError(f"Triton did not restart: {error}.", f"See Triton's log, {self.log}.") from None

    def serve_forever(self, on_ready: Callable[[Endpoint], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then drain and stop; a second signal stops at once. For the main thread.

        Unless the settings switch it off, the gateway stands before Triton. Either, where it ends, and a Triton that loses one of its
        processes or no longer answers, is started again; see :mod:`serving.server.supervisor`.

        Args:
            on_ready: called with the addresses once the server is ready.

        Raises:
            ServerError: if the server cannot be started, or had to be started again too often.
            UsageError: if called outside the main thread.
        """
        from serving.server.supervisor import Supervisor

        if threading.current_thread() is not threading.main_thread():
            raise UsageError("serve_forever was called outside the main thread.", "Use start() and stop() there.")
        if self._settings.gateway == "on":
            self._stand_behind()
        try:
            Supervisor(self, self._say).run(on_ready)
        finally:
            self.stop(drain=False)

    def front(self, health: str) -> Front | None:
        """Return the gateway that stands before it, not yet started; None where it is served without one.

        Args:
            health: ``host:port`` at which the gateway learns whether Triton answers.
        """
        return Front(self._repository, self._settings, self._gateway_log, health) if self._is_behind else None

    def _stand_behind(self) -> None:
        """Listen where the gateway alone asks."""
        self._is_behind = True
        self._listens = self._settings.model_copy(update=_BEHIND)

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop(drain=False)

    def _forget_ports(self) -> None:
        """Let go of the ports. They are held until then, so that no other program takes them while Triton is started again."""
        if self._ports is not None:
            self._ports.release()
        self._ports = None

    def _start_once(self, ports: HeldPorts, cancelled: Callable[[], bool]) -> Endpoint:
        settings = self._listens
        identity = f"cartwheel-{os.getpid()}-{secrets.token_hex(4)}"
        self._process = self._launch(identity, ports)
        endpoint = Endpoint(
            grpc=f"unix:{self.door / TRITON_SOCKET}" if self._is_behind else join(ports.address, ports["grpc_port"]),
            http=join(ports.address, ports["http_port"]),
            metrics=join(ports.address, ports["metrics_port"]),
            pid=os.getpid(),
            tls=settings.tls_certificate is not None,
        )
        if self._questions is not None:
            self._questions.close()
        self._questions = Questions(endpoint.grpc, settings, identity, self._repository)
        try:
            self._await(endpoint, identity, cancelled)
        except BaseException as error:
            self._process.kill()
            self._process.wait(_END_SECONDS)
            if not isinstance(error, _StopError):
                self._process = None
                raise
        self._endpoint = endpoint
        return endpoint

    def _launch(self, identity: str, ports: HeldPorts) -> GuardedProcess:
        folder = workspace(identity)
        shared_memory = identity.replace("-", "_") + "_"
        self._gate = folder / "closed"
        (folder / "ledger").write_bytes(bytes(_LEDGER_BYTES))
        environment = self._binary.environment() | dict.fromkeys(_THREAD_VARIABLES, str(self._settings.threads))
        environment |= {_LEDGER: str(folder / "ledger"), _QUEUE_SECONDS: str(self._settings.queue_seconds)}
        environment |= {_QUEUE_SIZE: str(math.ceil(self._settings.queue_size / self._settings.read_processes))}
        try:
            return GuardedProcess(
                triton_command(
                    self._binary, self._repository, self._listens, identity, ports, folder, shared_memory, private=self._is_behind
                ),
                environment=environment | {_GATE: str(self._gate), _PASS: identity},
                log=self.log,
                workspace=folder,
                shared_memory=shared_memory,
                grace_seconds=self._settings.drain_seconds + _END_SECONDS / 2,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _await(self, endpoint: Endpoint, identity: str, cancelled: Callable[[], bool]) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._settings.start_seconds
        while not _is_ready(endpoint, identity):
            if cancelled():
                raise _StopError
            if self._process.wait(_POLL_SECONDS):
                raise self._failure()
            if time.monotonic() > deadline:
                raise self._too_slow()
        self._process.close_to_others()

    def _failure(self) -> Exception:
        assert self._process is not None
        text = self._log.read_tail()
        if triton_log.has_lost_lock(text):
            return _PassingError("a lock in shared memory was lost (boost::interprocess::lock_exception)")
        port = triton_log.taken_port(text)
        for option in PORT_OPTIONS if port else ():
            if getattr(self._listens, option) == port:
                return taken(port or 0, self._listens.host, option)
        if port:
            return _PassingError(f"another program took the port {port}, which had just been free")
        fix = f"Write the repository again with `cartwheel export`; Triton's whole log is {self.log}."
        if broken := triton_log.failed_models(text):
            reasons = "; ".join(f"model {model}: {reason}" for model, reason in broken.items())
            return ServerError(f"Triton could not load the repository {self._repository}: {reasons}.", fix)
        return ServerError(
            f"Triton did not start ({self._process.outcome}). Its log ends with:\n{triton_log.last_lines(text)}\n", fix
        )

    def _too_slow(self) -> ServerError:
        text = self._log.read_tail()
        loading = triton_log.still_loading(text)
        where = f"still loading {', '.join(loading)}" if loading else "not answering yet"
        if complaint := triton_log.stub_complaint(text):
            where += f" ({complaint})"
        return ServerError(
            f"Triton was not ready within {self._settings.start_seconds:g} s (serve.start_seconds): {where}.",
            f"Give it more time with serve.start_seconds, or see what it waits for in {self.log}.",
        )


def _not_started() -> ServerError:
    return ServerError("The server has not been started.", "Call start() first.")


def _is_ready(endpoint: Endpoint, identity: str) -> bool:
    """Return whether our own server answers that all its models are ready, and the last port it opens is open."""
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
