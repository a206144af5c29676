"""Demand: how many pieces of an item are sold in the week ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

DECLARATION: Final[Mapping[str, Any]] = {
    "title": "Pieces of an item sold in the week ahead",
    "for_each": "item",
    "every_days": 7,
    "active_events": ("purchase",),
    "predict": {"event": "purchase", "within_days": 7, "as": "sum", "column": "quantity"},
    "features": ("item_activity", "past_windows", "calendar"),
    "metrics": ("rmsse",),
}
"""What ``[tasks.<name>] use = "demand"`` fills in: asked each week of every item that was sold before."""
