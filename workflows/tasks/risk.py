"""Risk: a row of the shop's table, such as an order or an account, is fraudulent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

DECLARATION: Final[Mapping[str, Any]] = {
    "title": "Rows that are fraud",
    "for_each": "row",
    "learners": ("logistic_regression", "lightgbm", "dlrm", "isolation_forest", "autoencoder"),
    "metrics": ("recall_at_false_alarms",),
    "cost_of_false_positive": 1.0,
    "cost_of_false_negative": 50.0,
}
"""What ``[tasks.<name>] use = "risk"`` fills in; ``table`` and ``label`` are the shop's. A fraud that is missed costs 50 false alarms."""
