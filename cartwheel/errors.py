"""The errors that Cartwheel raises on purpose, under their public name; ``cartwheel.core.errors`` describes each.

>>> from cartwheel.errors import DataError
>>> DataError("events.csv, row 7 has no item_id.", "Fix that line.").exit_code
4
"""

from __future__ import annotations

from cartwheel.core.errors import (
    CartwheelError,
    ComparisonError,
    ConfigError,
    DataError,
    LeakageError,
    MissingDependencyError,
    NotCompilableError,
    ParityError,
    ReproductionError,
    RunError,
    ServerError,
    UsageError,
)

__all__ = [
    "CartwheelError",
    "ComparisonError",
    "ConfigError",
    "DataError",
    "LeakageError",
    "MissingDependencyError",
    "NotCompilableError",
    "ParityError",
    "ReproductionError",
    "RunError",
    "ServerError",
    "UsageError",
]
