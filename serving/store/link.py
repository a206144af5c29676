"""Who a visitor turned out to be."""

from __future__ import annotations

from typing import NamedTuple


class Link(NamedTuple):
    """From an instant on, what a visitor does is done by a user.

    Attributes:
        visitor: the history of the visitor, as ``event.shopper_key`` names it.
        user_id: the user.
        since_us: the instant, Unix microseconds; 0 for all that the visitor ever did.
    """

    visitor: str
    user_id: str
    since_us: int
