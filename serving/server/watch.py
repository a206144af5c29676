"""The guard of one child process: it starts the child, and sees to it that nothing of the child outlives its owner.

Run as a program, ``python -I -S watch.py '<JSON>'``, so that it needs the standard library alone and starts in milliseconds.
Being a process of its own with a single thread it can do what the owner cannot do safely: act after the owner was killed
(``SIGKILL`` included), and set a parent-death signal between fork and exec.

The owner talks on standard input, one letter an order: ``d`` drain (``SIGTERM``, then ``SIGKILL`` after the grace), ``k``
kill now; the end of the input means that the owner is gone, and is taken as ``k``. The guard answers on standard
output with two lines: ``started <process id>``, and ``exit <code>`` once everything is gone, where a negative code is the number of
the signal that ended the child. If the child could not be started, the only line is ``error <reason>``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.5
_REAP_SECONDS = 5.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where Linux keeps POSIX shared memory; only our own prefix is touched


def main() -> None:
    """Guard the child that the command line describes until it has ended, then tidy up.

    The JSON object of the first argument: ``command`` (list of str), ``log`` (path for the child's output), ``workspace``
    (folder to remove at the end), ``shared_memory`` (prefix of the child's shared memory), ``grace_seconds`` and ``owner``
    (process id).
    """
    task: dict[str, Any] = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wakeup = _wake_on_signals()
    try:
        with Path(task["log"]).open("ab") as log:
            child = _start(task["command"], log.fileno(), libc)
        with contextlib.suppress(BrokenPipeError):  # the owner is gone, which ends the child below
            print(f"started {child.pid}", flush=True)
        code = _guard(child, wakeup, float(task["grace_seconds"]), int(task["owner"]))
        _end_group(child.pid)
        answer = f"exit {code}"
    except OSError as error:
        answer = f"error {error}"
    tidy(task["shared_memory"], task["workspace"])
    with contextlib.suppress(BrokenPipeError):  # the owner is gone
        print(answer, flush=True)


def _start(command: list[str], log: int, libc: ctypes.CDLL) -> subprocess.Popen[bytes]:
    guard = os.getpid()

    def become_leader_and_die_with_guard() -> None:
        os.setsid()
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != guard:  # the guard died before prctl could tell
            os.kill(os.getpid(), signal.SIGKILL)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=become_leader_and_die_with_guard,  # safe here: this process has one thread
    )


def _wake_on_signals() -> int:
    """Make signals readable; return the descriptor that becomes ready when one arrives."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def noted(_number: int, _frame: FrameType | None) -> None:
        """Do nothing here: the wakeup descriptor carries the signal."""

    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, noted)
    return reader


def _guard(child: subprocess.Popen[bytes], wakeup: int, grace_seconds: float, owner: int) -> int:
    """Wait for the child's end, passing orders on; return its exit code."""
    orders = sys.stdin.fileno()
    watched = [orders, wakeup]
    kill_at = float("inf")
    while (code := child.poll()) is None:
        ready, _, _ = select.select(watched, [], [], _POLL_SECONDS)
        order = os.read(orders, 1) if orders in ready else b""
        signals = os.read(wakeup, 64) if wakeup in ready else b""
        asked_to_end = bool({signal.SIGTERM, signal.SIGINT, signal.SIGHUP} & set(signals))
        if orders in ready and not order:
            watched = [wakeup]
        if order == b"k" or (orders in ready and not order) or os.getppid() != owner or time.monotonic() > kill_at:
            os.killpg(child.pid, signal.SIGKILL)
        elif (order == b"d" or asked_to_end) and kill_at == float("inf"):
            child.terminate()
            kill_at = time.monotonic() + grace_seconds
    return code


def _end_group(group: int) -> None:
    """Kill what the child left behind and reap it: being the subreaper, the guard inherits the child's children."""
    deadline = time.monotonic() + _REAP_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether there is a process of that number that has not ended."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tidy(prefix: str, workspace: str) -> None:
    """Remove the shared memory whose names begin with ``prefix``, and the folder ``workspace``."""
    if prefix:
        for region in SHARED_MEMORY.glob(f"{prefix}*"):
            region.unlink(missing_ok=True)
    shutil.rmtree(workspace, ignore_errors=True)


if __name__ == "__main__":
    main()
