"""Takes in who visitors turned out to be, as a shop knows at a login."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from serving.gateway.gate import Gate
from serving.gateway.refusal import invalid
from serving.intake.rules import LONGEST
from serving.store.event import shopper_key
from serving.store.link import Link

LINK: Final = "link"
"""What metrics and logs call it, in place of an ensemble."""
_MOST: Final = 10_000


async def set_links(gate: Gate, given: Sequence[Mapping[str, Any]]) -> int:
    """Keep links, and return how many.

    Args:
        gate: what keeps them.
        given: ``user_id``, ``visitor_id`` or ``session_id``, and ``since``, Unix microseconds; absent is now.

    Raises:
        RefusedError: if one is wrong, and then none is kept, or they cannot be kept.
    """
    if not 0 < len(given) <= _MOST:
        raise invalid(f"links holds {len(given):,} links; give 1 to {_MOST:,}.", "too_large")
    now = time.time_ns() // 1000
    await gate.link([_link(f"links[{place}]", link, now) for place, link in enumerate(given)])
    return len(given)


def _link(where: str, link: Mapping[str, Any], now: int) -> Link:
    user, visitor, session = (str(link.get(name) or "") for name in ("user_id", "visitor_id", "session_id"))
    for name, text in (("user_id", user), ("visitor_id", visitor), ("session_id", session)):
        if len(text) > LONGEST:
            raise invalid(f"{where}.{name} is too long; give the id as the shop's event log writes it.")
    if not user or bool(visitor) == bool(session):
        raise invalid(f"{where} links nobody; give user_id, and either visitor_id or session_id.")
    if user == visitor:
        raise invalid(f"{where} links {user!r} to itself; give the id that the visitor had before.")
    since = int(link.get("since", now))
    if since < 0:
        raise invalid(f"{where}.since is {since}; expected Unix microseconds, or 0 for all that the visitor ever did.")
    return Link(shopper_key(visitor or None, session or None), user, since)
