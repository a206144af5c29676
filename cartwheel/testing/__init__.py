"""Suites that hold an extension to the laws of its kind; each is inherited in a few lines, in our tests or in a shop's own."""

from __future__ import annotations

import importlib
from typing import Any, Final

_SUITES: Final = {
    "FeatureFamilyConformance": "cartwheel.testing.feature_family",
    "LearnerConformance": "cartwheel.testing.learner",
    "MetricConformance": "cartwheel.testing.metric",
    "StoreConformance": "cartwheel.testing.store",
    "TaskConformance": "cartwheel.testing.task",
}

__all__ = sorted(_SUITES)


def __getattr__(name: str) -> Any:
    """Import a suite when it is asked for."""
    if name not in _SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_SUITES[name]), name)
