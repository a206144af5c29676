"""``cartwheel doctor``: checks this machine and suggests fixes."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cartwheel.core import packages
from cartwheel.core.cores import cores

_STATE_STYLES: Final = {"fit": "green", "note": "yellow", "unfit": "red"}
_GIB: Final = 1 << 30


class State(str, Enum):
    """How a check came out; only ``UNFIT`` keeps something from working."""

    FIT = "fit"
    NOTE = "note"
    UNFIT = "unfit"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: what was looked at, what was found, and what to do about it."""

    subject: str
    state: State
    found: str
    fix: str = ""


def examine(grpc_port: int = 8001) -> list[Finding]:
    """Run every check.

    Args:
        grpc_port: the port that a server would be started on.
    """
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _machine,
        _disk,
        _shared_memory,
        lambda: _packages("serving packages", "", State.UNFIT),
        lambda: _packages("serving packages", "serve", State.NOTE),
        lambda: _packages("training packages", "train", State.NOTE),
        _together,
        _triton,
        _gpu,
        lambda: _port(grpc_port),
    )
    return [check() for check in checks]


def show(findings: list[Finding], console: Console) -> None:
    """Print the findings as a table."""
    table = Table("", "state", "found", "what to do")
    for finding in findings:
        style = _STATE_STYLES[finding.state.value]
        table.add_row(finding.subject, f"[{style}]{finding.state.value}[/{style}]", escape(finding.found), escape(finding.fix))
    console.print(table)


def _python() -> Finding:
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return Finding("python", State.FIT, version)
    return Finding(
        "python", State.UNFIT, version, "Install Python 3.11 or 3.12 (NumPy below 2 ends there) and make the environment anew."
    )


def _machine() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    found = f"{platform.system()} {platform.machine()}, {cores()} cores, {memory:.0f} GiB"
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return Finding("machine", State.UNFIT, found, "Use Linux on x86-64: the Triton binary is built for it.")
    if memory < 4:
        return Finding("machine", State.NOTE, found, "Training wants 4 GiB or more.")
    return Finding("machine", State.FIT, found)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / _GIB
    state = State.FIT if free >= 5 else State.NOTE
    return Finding(
        "disk", state, f"{free:.0f} GiB free here", "" if state is State.FIT else "The packages and one run want about 5 GiB."
    )


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")  # noqa: S108 - Triton's Python backend exchanges tensors there
    if not folder.is_dir():
        return Finding(
            "shared memory", State.UNFIT, f"{folder} is absent", "Mount a tmpfs there: Triton's Python backend needs it."
        )
    free = shutil.disk_usage(folder).free / _GIB
    if free < 0.25:
        return Finding("shared memory", State.UNFIT, f"{free:.2f} GiB free", "Give it 256 MiB or more (docker: --shm-size=1g).")
    return Finding("shared memory", State.FIT, f"{free:.1f} GiB free")


def _packages(subject: str, extra: str, otherwise: State) -> Finding:
    checked = packages.check(packages.declared(extra))
    fix = packages.INSTALL.format(extra) if extra else "In the checkout, run `make install`, or `uv pip install .`."
    wrong = {fit: [_told(each) for each in checked if each.fit is fit] for fit in packages.Fit if fit is not packages.Fit.FITS}
    found = "; ".join(f"{fit.value}: {', '.join(names)}" for fit, names in wrong.items() if names)
    if wrong[packages.Fit.MISSING]:
        return Finding(subject, otherwise, found, fix)
    if found:
        return Finding(subject, State.NOTE, found, f"Nothing has been tried with these. {fix}")
    return Finding(subject, State.FIT, ", ".join(_told(each) for each in checked))


def _told(package: packages.Package) -> str:
    name = package.requirement.name
    if package.fit in {packages.Fit.TOO_NEW, packages.Fit.TOO_OLD}:
        return f"{name} {package.version} (declared: {package.requirement.specifier})"
    return f"{name} {package.version}".rstrip()


def _together() -> Finding:
    for found, fix in packages.colliding():
        return Finding("packages together", State.UNFIT, found, fix)
    return Finding("packages together", State.FIT, "no two of them write the same files")


def _triton() -> Finding:
    spec = importlib.util.find_spec("pytriton")
    if spec is None:
        return Finding("triton", State.NOTE, "not installed", packages.INSTALL.format("serve"))
    binary = Path(spec.origin).parent / "tritonserver" / "bin" / "tritonserver" if spec.origin else None
    if binary is None or not binary.is_file():
        return Finding("triton", State.UNFIT, "no binary", "uv pip install --reinstall nvidia-pytriton")
    stub = binary.parent.parent / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}"
    if not stub.is_dir():
        return Finding("triton", State.UNFIT, f"no stub for Python {platform.python_version()}", "Use Python 3.11 or 3.12.")
    return Finding("triton", State.FIT, f"embedded, nvidia-pytriton {metadata.version('nvidia-pytriton')}")


def _gpu() -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding("gpu", State.NOTE, "none", "Nothing: everything runs on the CPU. With a GPU: uv pip install '.[gpu]'.")
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("gpu", State.NOTE, f"nvidia-smi fails: {error}", "Mend the driver, or ignore this to run on the CPU.")
    return Finding("gpu", State.FIT, answer.stdout.strip().replace("\n", "; "))


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding(
                f"port {port}", State.NOTE, error.strerror or str(error), "Serve on another: `cartwheel serve --grpc-port 0`."
            )
    return Finding(f"port {port}", State.FIT, "free")
