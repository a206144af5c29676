"""The dead-letter file: rejected events with their reasons, as JSON lines."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import ServerError

DEAD_LETTERS: Final = "dead-letters.jsonl"
"""Name of the file in the folder of what shoppers did."""
_LARGEST: Final = 64 * 1024 * 1024
"""Bytes after which a file is set aside as ``.1``, in place of the one that was set aside before."""
_LONGEST: Final = 64 * 1024


class DeadLetters:
    """One file.

    Args:
        path: the file; made with its folder when the first line comes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def write(self, letters: Sequence[Mapping[str, Any]]) -> None:
        """Append lines, each with ``reason``, ``detail``, ``received_us``, ``source`` and ``event``; they are on the disk when it returns.

        Raises:
            ServerError: if they cannot be written.
        """
        if not letters:
            return
        content = "".join(f"{_line(letter)}\n" for letter in letters).encode("ascii")
        try:
            with self._lock:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if self.path.exists() and self.path.stat().st_size > _LARGEST:
                    os.replace(self.path, self.path.with_suffix(f"{self.path.suffix}.1"))
                with self.path.open("ab") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise ServerError(f"{self.path} cannot be written: {error}.", "Nothing was stored; send the events again.") from error


def _line(letter: Mapping[str, Any]) -> str:
    line = json.dumps(letter, default=str)
    if len(line) <= _LONGEST:
        return line
    return json.dumps({**letter, "event": f"{str(letter['event'])[:1000]} ... (cut off)"}, default=str)
