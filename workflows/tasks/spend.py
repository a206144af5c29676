"""Spend: what a customer will be worth in the next 90 days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

DECLARATION: Final[Mapping[str, Any]] = {
    "title": "Money that a customer spends in the next 90 days",
    "for_each": "user",
    "every_days": 30,
    "active_within_days": 3650,
    "active_events": ("purchase",),
    "predict": {"event": "purchase", "within_days": 90, "as": "sum", "column": "revenue"},
    "features": ("user_activity", "buying_cycle"),
    "learners": ("poisson_regression", "lightgbm", "buy_till_you_die"),
    "metrics": ("top_decile_share", "total_error"),
    "parameters": {"lightgbm": {"quantity": "tweedie"}},
}
"""What ``[tasks.<name>] use = "spend"`` fills in: asked every 30 days of everybody who ever bought."""
