"""The state folder of a server: beside the repository, or elsewhere if that is read-only."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from cartwheel.core.run_layout import RELATIVE
from serving.settings import ServeSettings

_KEPT_LOGS: Final = 10
_WRITABLE: Final = 0o222
_LOG_NAME: Final = re.compile(r"\w+-\d{8}T\d{6}-(?P<pid>\d+)\.log")


def state_folder(run: Path) -> Path:
    """Return the folder for the address and the logs of the servers of a run: the run itself, unless it is read-only.

    A read-only one has a folder of its own under ``$XDG_STATE_HOME/cartwheel`` (by default ``~/.local/state/cartwheel``), or among
    the temporary files where that cannot be written; all processes of one user find the same.

    Args:
        run: folder that holds the repository.
    """
    path = run.resolve()
    if not path.is_dir() or _can_be_written(path):
        return path
    name = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', path.name)}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    if not _can_be_written(next(folder for folder in (home, *home.parents) if folder.is_dir())):
        home = Path(tempfile.gettempdir()) / f"cartwheel-state-{os.getuid()}"
    return home / "cartwheel" / name


def live_folder(repository: Path, settings: ServeSettings) -> Path:
    """Return the folder of what shoppers did since the export: beside the repository, which is not written to."""
    return settings.store_folder or state_folder(home_of(repository)) / "live"


def home_of(repository: Path) -> Path:
    """Return the folder that a repository belongs to: the run, whether it is the export itself or one of the run's versions."""
    folder = repository.absolute().parent
    return folder.parent if folder.name == RELATIVE.versions.name else folder


def log_file(folder: Path, of: str = "triton") -> Path:
    """Return a log file in ``folder`` for a server of this process, which no other server touches; the oldest of many are removed.

    ``triton.log`` beside it leads to the newest; likewise for what else writes a log.

    Args:
        folder: that of the server.
        of: what writes the log.
    """
    logs = folder / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_old(logs, of)
    now = datetime.now(timezone.utc)
    log = logs / f"{of}-{now:%Y%m%dT%H%M%S}-{os.getpid()}.log"
    lead_to_log(log, of)
    return log


def lead_to_log(log: Path, of: str = "triton") -> None:
    """Have ``triton.log``, or that of what else writes a log, lead to a log beside it."""
    aside = log.parent / f".{of}.log.{os.getpid()}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(log.name)
    os.replace(aside, log.parent / f"{of}.log")


def _can_be_written(path: Path) -> bool:
    """Whether the folder is meant to be written: root may write where nobody has the right to."""
    try:
        return bool(path.stat().st_mode & _WRITABLE) and os.access(path, os.W_OK | os.X_OK)
    except OSError:
        return False


def _remove_old(logs: Path, of: str) -> None:
    """Remove all but the newest logs of servers that have ended."""
    ended = [path for path in sorted(logs.glob(f"{of}-*.log*")) if (found := _LOG_NAME.match(path.name)) and _has_ended(found)]
    for path in ended[: max(0, len(ended) - _KEPT_LOGS + 1)]:
        path.unlink(missing_ok=True)


def _has_ended(log: re.Match[str]) -> bool:
    return not Path("/proc", log["pid"]).exists()
