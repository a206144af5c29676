"""Buying cycle: a customer is due to buy again within the week."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

DECLARATION: Final[Mapping[str, Any]] = {
    "title": "Customers who are due to buy again within seven days",
    "for_each": "user",
    "every_days": 7,
    "active_within_days": 365,
    "active_events": ("purchase",),
    "predict": {"event": "purchase", "within_days": 7, "as": "any"},
    "features": ("user_activity", "buying_cycle", "calendar"),
    "learners": ("logistic_regression", "lightgbm", "buy_till_you_die"),
}
"""What ``[tasks.<name>] use = "buying_cycle"`` fills in: asked each week of everybody who bought in the last year."""
