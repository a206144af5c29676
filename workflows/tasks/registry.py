"""The declarations that a configuration can use by name, and the names that no declared task can have."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

DECLARATIONS: Final[Mapping[str, str]] = {
    "churn": "workflows.tasks.churn",
    "purchase_intent": "workflows.tasks.intent",
    "demand": "workflows.tasks.demand",
    "spend": "workflows.tasks.spend",
    "buying_cycle": "workflows.tasks.buying_cycle",
    "risk": "workflows.tasks.risk",
    "targeting": "workflows.tasks.targeting",
}
"""Name -> the module with its ``DECLARATION``."""

RESERVED: Final = ("recommend", "ranking", "cart", "similar_items")
"""Names of tasks and served ensembles that Cartwheel has already."""


def declaration(name: str) -> Mapping[str, Any]:
    """Return the settings that ``use = name`` fills in."""
    content: Mapping[str, Any] = importlib.import_module(DECLARATIONS[name]).DECLARATION
    return content
