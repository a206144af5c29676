"""The exposure log: one JSON object per line and one file per day, the input of experiments and previews.

A line holds ``at_us``, ``request_id``, ``version`` (the arm), ``shopper`` (by what the version was chosen), ``user_id``, ``rung``,
``explored``, ``pool`` (how many items were answered), ``items`` with the ``propensity`` of each at its place, ``model`` (the items that
the model would have shown), ``request`` (the serialised ``ModelInferRequest``, with the shopper's events of that moment, base64),
``rules`` (those of the request, as JSON; empty where it gave none) and ``cart`` (what the store knew to be in it).
The folder is its owner's alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

EXPOSURES: Final = "exposures"
"""Name of the folder within that of what shoppers did."""
_FLUSH_SECONDS: Final = 0.5
_MOST_WAITING: Final = 20_000


class ExposureLog:
    """Writes the log of one gateway, now and then; a disk that is full costs lines, never an answer.

    Args:
        folder: made when the first line comes.
        complain: writes a sentence to the gateway's log.
    """

    def __init__(self, folder: Path, complain: Callable[[str], None]) -> None:
        self._folder, self._complain = folder, complain
        self._lines: list[tuple[str, str]] = []
        self.left_out = 0
        """Lines that could not be written."""

    def write(self, at_us: int, told: Mapping[str, Any]) -> None:
        """Write a line soon."""
        if len(self._lines) >= _MOST_WAITING:
            self.left_out += 1
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        day = datetime.fromtimestamp(at_us / 1e6, timezone.utc).strftime("%Y-%m-%d")
        self._lines.append((day, json.dumps({"at_us": at_us, **told}, separators=(",", ":"))))

    def flush(self) -> None:
        """Write what has gathered."""
        lines, self._lines = self._lines, []
        by_day: dict[str, list[str]] = {}
        for day, line in lines:
            by_day.setdefault(day, []).append(line)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for day, of_day in by_day.items():
                with (self._folder / f"{day}.jsonl").open("a", encoding="ascii") as file:
                    file.write("\n".join(of_day) + "\n")
        except OSError as error:
            self.left_out += len(lines)
            self._complain(f"{self._folder} cannot be written ({error}); {len(lines)} exposures are lost.")
