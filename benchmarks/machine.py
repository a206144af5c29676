"""What is told beside every figure: the machine, how busy it was, and the versions that were measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def machine(packages: Sequence[str]) -> str:
    """Return the cores, the load average of the last minute, and the versions of Python and ``packages`` in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    where = f"{os.cpu_count()} cores ({_processor()}), load average {load():.1f} at the start"
    return f"{where}; Python {platform.python_version()}, {versions}"


def load() -> float:
    """Return how many processes wanted a core on average in the last minute."""
    return os.getloadavg()[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
