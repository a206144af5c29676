"""What a training took, epoch by epoch; judging is not counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Lap:
    """A part of a training.

    Attributes:
        seconds: wall clock.
        cpu_seconds: user and system time of all threads.
        accuracy: of the model after it, on validation.
    """

    seconds: float
    cpu_seconds: float
    accuracy: float


class Laps:
    """A stop-watch that starts when it is made."""

    def __init__(self) -> None:
        self._laps: list[Lap] = []
        self._build: tuple[float, float] = (0.0, 0.0)
        self._start()

    def built(self) -> None:
        """Note that the model stands, and whatever training begins at is computed."""
        self._build = self._passed()
        self._start()

    def epoch(self, judge: Callable[[], float]) -> float:
        """Note the end of an epoch, judge the model while the watch stands still, and return its accuracy."""
        seconds, cpu_seconds = self._passed()
        accuracy = judge()
        self._laps.append(Lap(seconds, cpu_seconds, accuracy))
        self._start()
        return accuracy

    def content(self, rows: int, weights: int) -> dict[str, Any]:
        """Return what a child hands back as JSON.

        Args:
            rows: learnt from in each epoch.
            weights: numbers that the model has learnt.
        """
        build = {"seconds": self._build[0], "cpu_seconds": self._build[1]}
        return {"rows": rows, "weights": weights, "build": build, "epochs": [asdict(lap) for lap in self._laps]}

    def _start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def _passed(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu
