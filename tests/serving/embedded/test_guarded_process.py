"""The guard: how a child's end is told, and that nothing of it is left, whoever dies first."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.server.guarded_process import GuardedProcess


@pytest.fixture
def guard(tmp_path: Path) -> Callable[..., GuardedProcess]:
    def start(code: str, program: str = sys.executable, grace_seconds: float = 10.0) -> GuardedProcess:
        workspace = tmp_path / "workspace"
        workspace.mkdir()
        return GuardedProcess(
            [program, "-u", "-c", code],
            environment=os.environ,
            log=tmp_path / "log",
            workspace=workspace,
            shared_memory=f"cartwheel_test_{os.getpid()}_",
            grace_seconds=grace_seconds,
        )

    return start


def wait_for_log(folder: Path, text: str) -> str:
    deadline = time.monotonic() + 10
    while text not in (said := (folder / "log").read_text() if (folder / "log").exists() else ""):
        assert time.monotonic() < deadline, said
        time.sleep(0.01)
    return said


def is_running(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("pass", "exit code 0"),
        ("raise SystemExit(7)", "exit code 7"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
    ],
)
def test_the_end_is_told(guard: Any, tmp_path: Path, code: str, outcome: str) -> None:
    called: list[str] = []
    process = guard(f"print('begun'); {code}")
    process.when_ended(lambda: called.append(process.outcome))
    assert process.wait(10)
    assert (process.outcome, process.ended_by_itself) == (outcome, True)
    assert "begun" in (tmp_path / "log").read_text()
    assert not (tmp_path / "workspace").exists()
    deadline = time.monotonic() + 5
    while not called and time.monotonic() < deadline:
        time.sleep(0.01)
    assert called == [outcome]


def test_a_program_that_cannot_start_is_told(guard: Any, tmp_path: Path) -> None:
    process = guard("", program=str(tmp_path / "no such program"))
    assert process.wait(10)
    assert "No such file or directory" in process.outcome
    assert not (tmp_path / "workspace").exists()


def test_draining_lets_the_program_finish(guard: Any, tmp_path: Path) -> None:
    process = guard(
        "import signal, time\ndone = []\nsignal.signal(15, lambda *_: done.append(1))\nprint('ready')\n"
        "while not done: time.sleep(0.01)\nprint('finished')\n"
    )
    wait_for_log(tmp_path, "ready")
    process.drain()
    assert process.wait(10)
    assert (process.outcome, process.ended_by_itself) == ("exit code 0", False)
    wait_for_log(tmp_path, "finished")
    process.drain()
    process.kill()


def test_a_program_that_will_not_finish_is_killed_after_the_grace(guard: Any, tmp_path: Path) -> None:
    process = guard("import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready')\ntime.sleep(60)", grace_seconds=0.3)
    wait_for_log(tmp_path, "ready")
    process.drain()
    assert process.wait(10)
    assert process.outcome == "signal 9"


def test_children_of_the_program_and_its_shared_memory_go_too(guard: Any, tmp_path: Path) -> None:
    region = Path("/dev/shm") / f"cartwheel_test_{os.getpid()}_region"
    region.write_text("left behind")
    process = guard(
        "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('child', child.pid, 'born')\n"
    )
    child = int(wait_for_log(tmp_path, "born").split()[1])
    assert process.wait(10)
    assert process.outcome == "exit code 0", "the program ended by itself and left its child"
    assert not is_running(child)
    assert not region.exists()
