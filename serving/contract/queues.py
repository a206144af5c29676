"""Queue limits: how many requests may wait and for how long before others are rejected.

A refused request ends with UNAVAILABLE: "Exceeds maximum queue size" or "Request timeout expired".

Requests wait in two places. Before they are read, Triton bounds the time alone. What it refuses when a request joins a queue is refused
while it is still taking the request in, and where its client gives it up at that moment, Triton 2.51 completes it twice and ends with
signal 11. So nothing may be refused before it has waited.

Once they are read, the programs bound time and number themselves (``serving/server/runner.py``), and Triton bounds nothing: a queue of
Triton's with bounds now and then fails to notice that its only process is free again, and then waits half a second for it (its batcher
waits on a condition whose mutex is another than that under which it is signalled). Several processes make that rare, so reading has
some; what computes has one, for it holds all tables.
"""

from __future__ import annotations

import re
from typing import Final

from serving.contract.triton_config import READING, UNBOUNDED
from serving.settings import ServeSettings

_BACKEND: Final = re.compile(r'^backend: "python"$', re.MULTILINE)
_BATCHING: Final = re.compile(r"^dynamic_batching \{ (?P<delay>max_queue_delay_microseconds: \d+) \}$", re.MULTILINE)
_MICROSECONDS: Final = 1_000_000


def with_queue(config: str, settings: ServeSettings) -> str:
    """Return the text of a ``config.pbtxt`` that ``cartwheel export`` wrote with the bounds that the settings set.

    Only steps have a queue; the text of an ensemble is returned as it is, and so is that of a program that bounds its queue itself.
    For a step that does not batch, Triton takes the same block and still hands it one request at a time.
    """
    if not _BACKEND.search(config) or UNBOUNDED in config.splitlines():
        return config
    size = "" if READING in config.splitlines() else f" max_queue_size: {settings.queue_size}"
    policy = (
        "default_queue_policy { timeout_action: REJECT allow_timeout_override: true"
        f" default_timeout_microseconds: {round(settings.queue_seconds * _MICROSECONDS)}{size} }}"
    )
    if _BATCHING.search(config):
        return _BATCHING.sub(rf"dynamic_batching {{ \g<delay> {policy} }}", config)
    return f"{config.rstrip()}\ndynamic_batching {{ {policy} }}\n"
