"""The gateway's log: a JSON object a line, with the request id; never more lines a second than a disk bears."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime, timezone
from typing import Any, Final, Literal, TextIO

from serving.gateway.refusal import Code
from serving.gateway.visit import RANKED, Visit

_FLUSH_SECONDS: Final = 0.2
_MOST_A_SECOND: Final = 1000
Which = Literal["all", "failed", "none"]


class Log:
    """Writes to a stream, now and then.

    Args:
        which: the requests that get a line: all, those that were refused or answered by a lower rung, or none.
        stream: where to.
    """

    def __init__(self, which: Which, stream: TextIO = sys.stdout) -> None:
        self._which, self._stream = which, stream
        self._lines: list[str] = []
        self._second, self._written, self._left_out = 0, 0, 0

    def request(self, visit: Visit) -> None:
        """Write a line about a request that has ended, if such are wanted."""
        if self._which == "none" or (self._which == "failed" and visit.code is Code.OK and visit.rung in ("", RANKED)):
            return
        told = {"request_id": visit.request_id, "door": visit.door, "ensemble": visit.ensemble, "status": visit.code.name}
        more = {"reason": visit.reason, "rung": visit.rung, "caller": visit.caller}
        taken = round((time.perf_counter() - visit.begun) * 1e3, 3)
        self.event("request", **told, **{name: value for name, value in more.items() if value}, milliseconds=taken)

    def event(self, event: str, **told: Any) -> None:
        """Write a line about anything."""
        now = time.time()
        if int(now) != self._second:
            self._second, self._written = int(now), 0
            if self._left_out:
                left_out, self._left_out = self._left_out, 0
                self.event("left out", lines=left_out)
        if self._written >= _MOST_A_SECOND:
            self._left_out += 1
            return
        self._written += 1
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        at = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="milliseconds")
        self._lines.append(json.dumps({"at": at, "event": event, **told}))

    def flush(self) -> None:
        """Write what has gathered."""
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
