"""Whole requests with their answers, for those who want to ask them again: a JSON object a line, as Triton got and gave them.

A request is kept as it was asked of Triton, the live events, the time and what rules barred among its tensors, so that it can be asked
again after a restart and of another machine. The messages of KServe v2 stand in it as Base64.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from serving.gateway.visit import Visit
from serving.settings import ServeSettings

FILE: Final = "requests.jsonl"
_FLUSH_SECONDS: Final = 0.2
_MEGABYTE: Final = 1 << 20
_OWN: Final = 0o600


class Recorder:
    """Writes to a file that is for this user alone; a full one becomes ``<name>.previous``, in the place of the one before.

    Args:
        path: the file.
        settings: which share of the requests it gets, and how large it may grow.
        complain: called with a sentence where it cannot be written; nothing is recorded any more then.
    """

    def __init__(self, path: Path, settings: ServeSettings, complain: Callable[[str], None]) -> None:
        self._path, self._complain = path, complain
        self._share, self._most = settings.record_share, round(settings.record_megabytes * _MEGABYTE)
        self._lines: list[str] = []
        self._is_broken = False

    def record(self, visit: Visit, version: str, request: bytes, answer: bytes) -> None:
        """Record a request that was answered.

        Args:
            visit: what is known of it.
            version: that answered.
            request: serialised ``ModelInferRequest``, as Triton got it.
            answer: serialised ``ModelInferResponse``, as Triton gave it.
        """
        if self._is_broken or random.random() >= self._share:  # noqa: S311 - a sample, not a secret
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        content = {
            "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "request_id": visit.request_id,
            "door": visit.door,
            "ensemble": visit.ensemble,
            "version": version,
            "request": base64.b64encode(request).decode(),
            "answer": base64.b64encode(answer).decode(),
        }
        self._lines.append(json.dumps(content) + "\n")

    def flush(self) -> None:
        """Write what has gathered."""
        lines, self._lines = self._lines, []
        if not lines or self._is_broken:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(self._path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, _OWN), "w", encoding="utf-8") as stream:
                stream.writelines(lines)
                size = stream.tell()
            if size > self._most:
                os.replace(self._path, self._path.with_name(f"{self._path.name}.previous"))
        except OSError as error:
            self._is_broken = True
            self._complain(f"Requests are no longer recorded: {self._path} cannot be written ({error.strerror}).")
