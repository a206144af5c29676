"""The feature families with an implementation for requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from workflows.features.live.item import ItemActivity
from workflows.features.live.moment import Calendar
from workflows.features.live.past import LiveFamily
from workflows.features.live.session import SessionActivity, SessionItems
from workflows.features.live.shopper import BuyingCycle, UserActivity

LIVE: Final[Mapping[str, LiveFamily]] = {
    "user_activity": UserActivity(),
    "buying_cycle": BuyingCycle(),
    "item_activity": ItemActivity(),
    "session_activity": SessionActivity(),
    "session_items": SessionItems(),
    "calendar": Calendar(),
}
"""Name of a built-in family -> the same, as the gateway computes it. Values of any other family are those of the export."""
