"""Targeting: how much an offer moves each customer, of an experiment that sent it at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

DECLARATION: Final[Mapping[str, Any]] = {
    "title": "How much the offer moves a customer",
    "for_each": "row",
    "treatment": "treatment",
    "shuffled": True,
}
"""What ``[tasks.<name>] use = "targeting"`` fills in; ``table``, ``label`` and mostly ``treatment`` and its values are the shop's."""
