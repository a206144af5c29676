"""Churn: a user who was active of late buys nothing for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

DECLARATION: Final[Mapping[str, Any]] = {
    "title": "Users who will not buy again soon",
    "for_each": "user",
    "every_days": 7,
    "active_within_days": 90,
    "active_events": ("purchase",),
    "predict": {"event": "purchase", "within_days": 30, "as": "none"},
    "features": ("user_activity",),
}
"""What ``[tasks.<name>] use = "churn"`` fills in: asked each week of everybody who bought in the last 90 days."""
