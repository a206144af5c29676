"""How many requests may wait for a step, and for how long, before Triton refuses the next ones rather than answer them too late.

Every step has a queue of its own (an ensemble has none), and Triton looks at its bounds when a request joins it and when one leaves
it. A refused request ends with UNAVAILABLE: "Exceeds maximum queue size" or "Request timeout expired".
"""

from __future__ import annotations

import re
from typing import Final

from serving.settings import ServeSettings

_BACKEND: Final = re.compile(r'^backend: "python"$', re.MULTILINE)
_BATCHING: Final = re.compile(r"^dynamic_batching \{ (?P<delay>max_queue_delay_microseconds: \d+) \}$", re.MULTILINE)
_MICROSECONDS: Final = 1_000_000


def with_queue(config: str, settings: ServeSettings) -> str:
    """Return the text of a ``config.pbtxt`` that ``cartwheel export`` wrote with the bounds that the settings set.

    Only steps have a queue; the text of an ensemble is returned as it is. For a step that does not batch, Triton takes the same block
    and still hands it one request at a time.
    """
    if not _BACKEND.search(config):
        return config
    policy = (
        "default_queue_policy { timeout_action: REJECT allow_timeout_override: true"
        f" default_timeout_microseconds: {round(settings.queue_seconds * _MICROSECONDS)} max_queue_size: {settings.queue_size} }}"
    )
    if _BATCHING.search(config):
        return _BATCHING.sub(rf"dynamic_batching {{ \g<delay> {policy} }}", config)
    return f"{config.rstrip()}\ndynamic_batching {{ {policy} }}\n"
