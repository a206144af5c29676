"""Measures work in a process of its own: wall clock, processor time of all threads, and the peak of its memory.

``run_child`` starts this module; the child imports what it needs, runs one function a stage, and prints what each took as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import RunError

ROOT: Final = Path(__file__).resolve().parents[2]

_TENSORFLOW: Final = "tensorflow"

Stages = Iterable[tuple[str, Callable[[], object]]]
"""Name -> work, in turn. What is imported while the stages are made is not counted as work."""


@dataclass(frozen=True)
class Stage:
    """What a stage took.

    Attributes:
        seconds: wall clock.
        cpu_seconds: user and system time of all threads.
        peak_mb: the most memory of its own that the process held during the stage, in millions of bytes, looked at fifty times a second.
            Pages of files that are only mapped, which the kernel may drop at any time, do not count.
        held_mb: memory of its own that the process held at its end.
        result: what the work returned, of what JSON can carry.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    held_mb: float
    result: Any = None


def run_child(function: str, *, tensorflow: bool = False, **arguments: Any) -> dict[str, Stage]:
    """Run the stages that a function makes, in a new process.

    Args:
        function: ``module:function``; called with ``arguments`` it returns ``Stages``.
        tensorflow: whether the stages need TensorFlow, which is kept out of the process otherwise.
        arguments: what JSON can carry.

    Returns:
        Stage -> what it took. The first, ``start``, has no work in it: it tells what imports alone hold.

    Raises:
        RunError: if the child fails.
    """
    command = [
        sys.executable,
        "-m",
        "benchmarks.encoding.child",
        function,
        json.dumps(arguments),
        *([_TENSORFLOW] if tensorflow else []),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"{function} failed:\n{done.stderr[-4000:]}", "Mend it; nothing is reported.")
    return {name: Stage(**stage) for name, stage in json.loads(done.stdout.splitlines()[-1]).items()}


def measure(stages: Stages) -> dict[str, Stage]:
    """Run stages in this process; see ``run_child``."""
    waiting = list(stages)
    took = {"start": Stage(0.0, 0.0, _held(), _held())}
    for name, work in waiting:
        with _Peak() as peak:
            started, spent = time.perf_counter(), time.process_time()
            result = work()
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - spent
        took[name] = Stage(seconds, cpu_seconds, peak.megabytes, _held(), result)
    return took


def without_tensorflow() -> None:
    """Keep TensorFlow out of this process: NVTabular imports it where it finds it, for a data loader that no benchmark here uses."""
    sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type] # how Python is told that a module is not to be had


class _Peak:
    """Looks at this process's memory while work is done; the kernel itself keeps a peak only together with mapped files."""

    def __init__(self) -> None:
        self.megabytes = _held()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.megabytes = max(self.megabytes, _held())


def _held() -> float:
    """Return the memory of its own that this process holds, in millions of bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024 / 1e6


def _main() -> None:
    from workflows.compiler.quiet import quiet_nvtabular

    if _TENSORFLOW not in sys.argv[3:]:
        without_tensorflow()
    module, _, function = sys.argv[1].partition(":")
    with quiet_nvtabular():
        stages = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
        took = measure(stages)
    print(json.dumps({name: asdict(stage) for name, stage in took.items()}))


if __name__ == "__main__":
    _main()
