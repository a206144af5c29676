"""A child process that cannot outlive this one, seen from the owner's side; :mod:`serving.server.watch` is the other side."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from serving.server import watch

_GONE_SECONDS = 5.0
_PAUSE_SECONDS = 0.01


class GuardedProcess:
    """A program under the guard of :mod:`serving.server.watch`, which ends and tidies up even if this process is killed.

    Args:
        command: the program and its arguments.
        environment: its whole environment.
        log: file that its output is appended to.
        workspace: folder that is removed once it has ended.
        shared_memory: prefix of the POSIX shared memory regions that are removed once it has ended.
        grace_seconds: how long :meth:`drain` lets it finish.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        workspace: Path,
        shared_memory: str,
        grace_seconds: float,
    ) -> None:
        task = {
            "command": list(command),
            "log": str(log.absolute()),
            "workspace": str(workspace.absolute()),
            "shared_memory": shared_memory,
            "grace_seconds": grace_seconds,
            "owner": os.getpid(),
        }
        # A session of its own: a Ctrl-C in the terminal reaches the owner alone, who decides.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", watch.__file__, json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        self._shared_memory, self._workspace = shared_memory, workspace
        self._ended = threading.Event()
        self._ordered = False
        self._outcome = ""
        self._program: int | None = None
        self._listener = threading.Thread(target=self._listen, name="guarded-process", daemon=True)
        self._listener.start()

    @property
    def ended(self) -> bool:
        """Whether the program, and all that it started, is gone."""
        return self._ended.is_set()

    @property
    def ended_by_itself(self) -> bool:
        """Whether it has ended although neither :meth:`drain` nor :meth:`kill` was called."""
        return self.ended and not self._ordered

    @property
    def program(self) -> int | None:
        """Process id of the program; None before it is known."""
        return self._program

    @property
    def outcome(self) -> str:
        """How it ended, as the end of a sentence such as ``exit code 1`` or ``signal 9``; empty while it runs."""
        return self._outcome

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the end; return whether it has come."""
        return self._ended.wait(timeout_seconds)

    def when_ended(self, call: Callable[[], None]) -> None:
        """Have ``call`` called, in another thread, as soon as it has ended."""

        def wait_and_call() -> None:
            self._ended.wait()
            call()

        threading.Thread(target=wait_and_call, name="guarded-process-end", daemon=True).start()

    def close_to_others(self) -> None:
        """Take the rights of other users off its shared memory, where it could not be made without them."""
        for region in watch.SHARED_MEMORY.glob(f"{self._shared_memory}*"):
            with contextlib.suppress(FileNotFoundError):
                region.chmod(0o600)

    def drain(self) -> None:
        """Ask it to finish what it does and end; after the grace it is killed."""
        self._order(b"d")

    def kill(self) -> None:
        """End it, and everything that it started, at once."""
        self._order(b"k")

    def _order(self, letter: bytes) -> None:
        stream = self._guard.stdin
        self._ordered = self._ordered or not self.ended
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended meanwhile
            if stream is not None:
                stream.write(letter)
                stream.flush()

    def _end_program(self) -> None:
        """Kill the program and what it started, and wait until it is gone, so that another can have its ports."""
        deadline = time.monotonic() + _GONE_SECONDS
        while self._program is not None and watch.is_running(self._program) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._program, signal.SIGKILL)
            time.sleep(_PAUSE_SECONDS)

    def _listen(self) -> None:
        assert self._guard.stdout is not None
        word = rest = ""
        with self._guard.stdout as answers:
            for line in answers:
                word, _, rest = line.decode(errors="replace").strip().partition(" ")
                if word == "started":
                    self._program, word, rest = int(rest), "", ""
        code = self._guard.wait()
        if word == "exit" and rest.startswith("-"):
            self._outcome = f"signal {rest[1:]}"
        elif word == "exit":
            self._outcome = f"exit code {rest}"
        else:
            self._outcome = rest or f"its guard ended with code {code}"
            self._end_program()  # the guard, killed, could do neither
            watch.tidy(self._shared_memory, str(self._workspace))
        if self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
        self._ended.set()
