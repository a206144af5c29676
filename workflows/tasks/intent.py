"""Purchase intent: a running session ends with a purchase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

DECLARATION: Final[Mapping[str, Any]] = {
    "title": "Sessions that will buy",
    "for_each": "session",
    "after_events": (1, 3, 5),
    "predict": {"event": "purchase", "as": "any"},
    "features": ("session_activity", "session_items", "user_activity", "calendar"),
}
"""What ``[tasks.<name>] use = "purchase_intent"`` fills in: asked after the first, third and fifth event of each session."""
