"""Supervises one Triton: monitors it, restarts it when it dies, and stops it on request.

Triton is dead when it ends by itself, when one of the processes that run its models ends (Triton then answers every request with an
error, and calls itself ready), or when it answers the real questions of :mod:`serving.server.questions` with errors, or not at all. It
dies of requests too: Triton 2.51 ends with signal 8 when a request asks for the classification of a string.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import queue
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from cartwheel.core.errors import ServerError
from serving.server import triton_log
from serving.server.control import Control
from serving.server.deployer import Deployer
from serving.server.endpoint import Endpoint
from serving.server.front import Front, Lead
from serving.server.health import Health, HealthServer, State
from serving.server.questions import Answer
from serving.server.state_folder import lead_to_log

if TYPE_CHECKING:
    from serving.server.server import EmbeddedServer

_SOON_SECONDS: Final = 0.1
_BROKEN_SECONDS: Final = 1.0
"""How long there must be nothing but errors before Triton is started again."""


@dataclasses.dataclass(frozen=True)
class _Event:
    """Something that the main thread must act on.

    A signal, the death of the gateway or of the Triton of that ``start``, or another Triton to look after.
    """

    reason: str = ""
    start: int = -1
    of_gateway: bool = False
    adopt: Callable[[], None] | None = None

    @property
    def is_signal(self) -> bool:
        return self.start < 0 and not self.of_gateway and self.adopt is None


class Supervisor:
    """Looks after one server, and the gateway before it, in the main thread.

    Args:
        server: a server that has not been started.
        say: called with a line about each death and each start.
    """

    def __init__(self, server: EmbeddedServer, say: Callable[[str], None]) -> None:
        self._server, self._say, self._settings = server, say, server.settings
        self._health = Health()
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._front: Front | None = None
        self._deaths: list[float] = []
        self._start = 0
        self._signals = 0
        self._lock = threading.Lock()
        self._deployer = Deployer(self)

    @property
    def server(self) -> EmbeddedServer:
        """The Triton that serves."""
        return self._server

    @property
    def front(self) -> Front | None:
        """The gateway; None where there is none."""
        return self._front

    @property
    def is_ending(self) -> bool:
        """Whether the server was told to stop."""
        return self._signals > 0

    def adopt(self, server: EmbeddedServer) -> None:
        """Look after another Triton from now on, and return when it is so, or the server is told to stop."""
        done = threading.Event()

        def take_over() -> None:
            self._server = server
            self._look_after()
            lead_to_log(server.log)
            done.set()

        self._events.put(_Event(adopt=take_over))
        while not done.wait(_SOON_SECONDS) and not self.is_ending:
            pass

    def run(self, on_ready: Callable[[Endpoint], None] | None) -> None:
        """Start the server, serve until a signal, and drain; a second signal ends the draining.

        Raises:
            ServerError: if the first start fails, or the server had to be started again too often.
        """
        with (
            HealthServer(self._settings.host, self._settings.health_port, self._health) as reachable,
            self._server.front(reachable.address) or contextlib.nullcontext() as self._front,
        ):
            endpoint = dataclasses.replace(self._begin(), health=reachable.address)
            with self._noting_signals(), Control(self._deployer.act) as control, self._ended_at_last():
                self._look_after()
                if on_ready is not None:
                    on_ready(dataclasses.replace(endpoint, control=control.name))
                while not (event := self._next_event()).is_signal:
                    self._act_on(event)
                self._drain()

    def _act_on(self, event: _Event) -> None:
        if event.adopt is not None:
            event.adopt()
        elif event.of_gateway:
            self._revive_gateway(event.reason)
        elif event.start == self._start:
            number = triton_log.fatal_signal(self._server.log_since_start())
            self._revive(_ended(f"signal {number}") if number else event.reason)

    @contextlib.contextmanager
    def _ended_at_last(self) -> Iterator[None]:
        """End, after the block, the Triton that serves then, and any that was to."""
        try:
            yield
        finally:
            self._deployer.close()
            self._server.stop(drain=False)

    def _begin(self) -> Endpoint:
        """Start both, side by side, and return the addresses to ask."""
        if self._front is None:
            return self._server.start()
        self._front.start()
        endpoint = self._server.start()
        self._front.found(Lead(self._server.repository, self._server.door, endpoint.metrics))
        self._front.await_ready()
        self._watch_gateway(self._front)
        return self._front.endpoint(endpoint)

    def _watch_gateway(self, front: Front) -> None:
        front.when_ended(lambda outcome: self._events.put(_Event(_ended(outcome, "The gateway"), of_gateway=True)))

    def _revive_gateway(self, reason: str) -> None:
        """Start the gateway again, unless a signal comes; Triton goes on.

        Raises:
            ServerError: if it is dead too often, or does not start.
        """
        front = self._front
        assert front is not None
        self._count(reason, front.log)
        with self._health.without(reason):
            self._say(f"{reason}; restarting it. See its log, {front.log}.")
            begun = time.monotonic()
            front.start()
            front.await_ready(lambda: self._signals > 0)
            self._watch_gateway(front)
            self._say(f"the gateway is ready again after {time.monotonic() - begun:.1f} s")

    def _next_event(self) -> _Event:
        """Wait for an event, waking now and then: a signal that comes as the wait begins, or to another thread, does not end it."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._events.get(timeout=_SOON_SECONDS)

    def _drain(self) -> None:
        self._now(State.DRAINING)
        done = threading.Thread(target=self._finish, name="drain", daemon=True)
        done.start()
        while done.is_alive() and self._signals < 2:
            with contextlib.suppress(queue.Empty):
                self._events.get(timeout=_SOON_SECONDS / 2)

    def _finish(self) -> None:
        if self._front is not None:
            self._front.drain()
        with contextlib.suppress(ServerError):  # it never came up again
            self._server.finish()

    def _revive(self, reason: str) -> None:
        """Start the server again until it is ready, or a signal comes.

        Raises:
            ServerError: if it is dead too often.
        """
        while not self._signals:
            self._count(reason)
            self._now(State.RESTARTING, reason)
            self._say(f"{reason}; restarting it. See its log, {self._server.log}.")
            begun = time.monotonic()
            try:
                endpoint = self._server.restart(lambda: self._signals > 0)
            except ServerError as error:
                reason = error.found.partition("\n")[0]
                continue
            if not self._signals:
                if self._front is not None:
                    self._front.found(Lead(self._server.repository, self._server.door, endpoint.metrics))
                self._look_after()
                self._say(f"ready again after {time.monotonic() - begun:.1f} s")
            return

    def _count(self, reason: str, log: Path | None = None) -> None:
        now, window, allowed = time.monotonic(), self._settings.restart_window_seconds, self._settings.max_restarts
        self._deaths = [*(at for at in self._deaths if now - at < window), now]
        if len(self._deaths) > allowed:
            times = "once" if len(self._deaths) == 1 else f"{len(self._deaths)} times"
            raise ServerError(
                f"{reason}; that is {times} within {window:g} s, and serve.max_restarts allows {allowed}."
                + (f" {self._server.log_end}" if log is None else ""),
                f"See why in {log or self._server.log}, then start the server again.",
            )

    def _now(self, state: State, detail: str = "") -> None:
        """Enter a state in which nobody looks after the server."""
        with self._lock:
            self._start += 1
            self._health.set(state, detail)

    def _observe(self, start: int, state: State, detail: str = "") -> None:
        """Enter a state that was seen of the start with that number, unless it is over."""
        with self._lock:
            if start == self._start:
                self._health.set(state, detail)

    def _look_after(self) -> None:
        self._now(State.SERVING)
        start, process = self._start, self._server.process
        process.when_ended(lambda: self._events.put(_Event(_ended(process.outcome), start)))
        for look in (self._probe, self._await_parts):
            threading.Thread(target=look, args=(start,), name=look.__name__, daemon=True).start()

    def _probe(self, start: int) -> None:
        """Ask the real questions, over and over, as long as this start is the present one.

        A question that is refused because a queue is full is an answer; only one that gets none at all, for long, tells of a server
        that hangs rather than of one that has much to do.
        """
        questions, settings, broken_since = self._server.questions, self._settings, math.inf
        log = self._server.log_since_start
        patience = max(settings.hang_seconds, settings.probe_timeout_seconds)

        def note(detail: str) -> None:
            self._observe(start, State.UNWELL, detail)

        while questions and start == self._start:
            time.sleep(settings.probe_seconds if broken_since == math.inf else _SOON_SECONDS)
            asked = time.monotonic()
            found = questions.ask(patience, settings.probe_timeout_seconds, note)
            if found.answer in {Answer.GOOD, Answer.BUSY}:
                broken_since = math.inf
                self._observe(start, State.SERVING, found.detail)
                continue
            note(found.detail)
            broken_since = min(broken_since, asked)
            if found.answer is Answer.LATE:
                self._events.put(_Event(f"Triton has not answered for {patience:g} s ({found.detail})", start))
                return
            # A Triton that dies of a signal first writes a long account of it, while its clients wait.
            if triton_log.fatal_signal(log()) or time.monotonic() - broken_since > _BROKEN_SECONDS:
                self._events.put(_Event(f"Triton answers with errors ({found.detail})", start))
                return

    def _await_parts(self, start: int) -> None:
        """Wait for the end of any process that runs a model."""
        with _parts(self._server.process.program or -1) as (whole, parts):
            if not parts:
                return
            ended = _first_ended([whole, *parts])
            # Where Triton itself has ended, its processes end too, and the guard tells of it.
            if whole not in ended and not _first_ended([whole], _SOON_SECONDS):
                self._events.put(_Event(f"The process that computes {parts[ended[0]]} ended", start))

    @contextlib.contextmanager
    def _noting_signals(self) -> Iterator[None]:
        """Note SIGTERM and SIGINT as events; a queue's ``put`` is safe in a signal handler."""

        def note(_number: int, _frame: FrameType | None) -> None:
            self._signals += 1
            self._events.put(_Event())

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _parts(parent: int) -> Iterator[tuple[int, dict[int, str]]]:
    """Yield a descriptor of ``parent`` and descriptor -> model of the processes below it, none where the system has no such thing."""
    parts: dict[int, str] = {}
    whole = -1
    try:
        with contextlib.suppress(OSError):
            whole = os.pidfd_open(parent)
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) != parent:
                    continue
                program = Path((folder / "cmdline").read_bytes().split(b"\0")[1].decode())
                parts[os.pidfd_open(int(folder.name))] = program.parent.parent.name
        yield whole, parts
    finally:
        for descriptor in (whole, *parts):
            if descriptor >= 0:
                os.close(descriptor)


def _first_ended(descriptors: Sequence[int], timeout_seconds: float | None = None) -> list[int]:
    """Wait until a process has ended, and return the descriptors of those that have."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if timeout_seconds is None else timeout_seconds * 1000)]


def _ended(outcome: str, what: str = "Triton") -> str:
    """Return the sentence for an outcome, with the name of the signal, as in ``signal 8, SIGFPE``."""
    word, _, number = outcome.partition(" ")
    with contextlib.suppress(ValueError):
        if word == "signal":
            outcome = f"{outcome}, {signal.Signals(int(number)).name}"
    return f"{what} ended by itself ({outcome})"
