"""Consumes events from a Redis stream as one member of a consumer group, which takes over pending entries.

An entry is taken out of the group's care (XACK) only when its event is durable or among the dead letters. One that is killed before
that is given again, and counts once, for its event id, or where it has none the name of the entry, is known.
https://redis.io/docs/latest/develop/data-types/streams/
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

from serving.intake.dead_letters import DeadLetters
from serving.intake.intake import keep
from serving.intake.taking import Taker
from serving.store.redis_store import connect
from serving.store.store import Store, unreachable

AT_ONCE: Final = 500
_BLOCK_MS: Final = 500
_LEFT_BEHIND_MS: Final = 30_000
_LOOK_SECONDS: Final = 5.0
_FIRST: Final = "0-0"


class Consumer(Taker):
    """One consumer of a group.

    Args:
        url: of Redis.
        stream: key of the stream; each entry has the fields of an event.
        group: made, from the stream's first entry on, where it is not there.
        store: what keeps events.
        letters: where those go that are not sound.
        types: event types that are known.
        name: of this consumer; left out, one of its own.
        left_behind_ms: after how long an entry that another consumer was given, and has not acknowledged, is taken over.

    Raises:
        MissingDependencyError: if the extra ``redis`` is not installed.
        UsageError: if the URL is none of Redis.
        ServerError: if Redis does not answer.
    """

    def __init__(
        self,
        url: str,
        stream: str,
        group: str,
        store: Store,
        letters: DeadLetters,
        types: frozenset[str],
        name: str = "",
        left_behind_ms: int = _LEFT_BEHIND_MS,
    ) -> None:
        self._client, self._stream, self._group = connect(url), stream, group
        self._store, self._letters, self._types = store, letters, types
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._left_behind_ms, self._looked = left_behind_ms, 0.0
        super().__init__()
        self._make_group()

    def step(self) -> int:
        """Take what is there, waiting half a second at most; return how many entries it was.

        Raises:
            ServerError: if Redis or the store does not answer; the entries will be given again.
        """
        import redis

        try:
            entries = self._left_behind() or self._new()
            if entries:
                self._take(entries)
            return len(entries)
        except redis.RedisError as error:
            raise unreachable(f"the stream {self._stream!r}", error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _make_group(self) -> None:
        import redis

        try:
            self._client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise unreachable(f"the stream {self._stream!r}", error) from error
        except redis.RedisError as error:
            raise unreachable(f"the stream {self._stream!r}", error) from error

    def _new(self) -> list[Any]:
        found: Any = self._client.xreadgroup(self._group, self._name, {self._stream: ">"}, count=AT_ONCE, block=_BLOCK_MS)
        return list(found[0][1]) if found else []

    def _left_behind(self) -> list[Any]:
        """Return entries that were given to a consumer that has not acknowledged them for a while, this one after a failure included."""
        if time.monotonic() - self._looked < min(_LOOK_SECONDS, self._left_behind_ms / 1000):
            return []
        found: Any = self._client.xautoclaim(self._stream, self._group, self._name, self._left_behind_ms, _FIRST, count=AT_ONCE)
        entries = [entry for entry in found[1] if entry[1]]
        if not entries:
            self._looked = time.monotonic()
        return entries

    def _take(self, entries: list[Any]) -> None:
        raws = [_event(self._stream, name, fields) for name, fields in entries]
        outcome = keep(self._store, self._letters, raws, self._types, f"stream {self._stream}", time.time_ns() // 1000)
        self._client.xack(self._stream, self._group, *(name for name, _ in entries))
        self.consumed.add(outcome)


def _event(stream: str, name: str, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the event of an entry: one that says no time is of the instant at which it was put into the stream."""
    milliseconds = int(name.partition("-")[0])
    said = {field: text for field, text in fields.items() if text}
    return {"event_id": f"{stream}:{name}", "timestamp": milliseconds * 1000, **said}
