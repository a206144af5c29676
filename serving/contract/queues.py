"""How many requests may wait for a step, and for how long, before Triton refuses the next ones rather than answer them too late.

Every step has a queue of its own (an ensemble has none), and Triton looks at its bounds when a request joins it and when one leaves
it. A refused request ends with UNAVAILABLE: "Exceeds maximum queue size" or "Request timeout expired".

The queue of a first step is bounded in time alone. What is refused there when it joins is refused while Triton is still taking the
request in, and where its client gives it up at that moment, Triton 2.51 completes it twice and ends with signal 11. So nothing may be
refused before it has waited; in later steps, and by time, it is another thread that refuses.
"""

from __future__ import annotations

import re
from typing import Final

from serving.settings import ServeSettings

_BACKEND: Final = re.compile(r'^backend: "python"$', re.MULTILINE)
_BATCHING: Final = re.compile(r"^dynamic_batching \{ (?P<delay>max_queue_delay_microseconds: \d+) \}$", re.MULTILINE)
_FIRST: Final = 'parameters { key: "first" value: { string_value: "true" } }'
_MICROSECONDS: Final = 1_000_000


def with_queue(config: str, settings: ServeSettings) -> str:
    """Return the text of a ``config.pbtxt`` that ``cartwheel export`` wrote with the bounds that the settings set.

    Only steps have a queue; the text of an ensemble is returned as it is. For a step that does not batch, Triton takes the same block
    and still hands it one request at a time.
    """
    if not _BACKEND.search(config):
        return config
    size = "" if _FIRST in config.splitlines() else f" max_queue_size: {settings.queue_size}"
    policy = (
        "default_queue_policy { timeout_action: REJECT allow_timeout_override: true"
        f" default_timeout_microseconds: {round(settings.queue_seconds * _MICROSECONDS)}{size} }}"
    )
    if _BATCHING.search(config):
        return _BATCHING.sub(rf"dynamic_batching {{ \g<delay> {policy} }}", config)
    return f"{config.rstrip()}\ndynamic_batching {{ {policy} }}\n"
