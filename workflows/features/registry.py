"""The feature families that a task can name, and those that a shop brings as ``module:name``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cartwheel.core.errors import ConfigError
from cartwheel.core.hooks import called, load_hook
from workflows.features.column import Column, check_distinct
from workflows.features.family import FeatureFamily

FAMILIES: Final[Mapping[str, str]] = {
    "user_activity": "workflows.features.user_activity:UserActivity",
    "buying_cycle": "workflows.features.buying_cycle:BuyingCycle",
    "item_activity": "workflows.features.item_activity:ItemActivity",
    "session_activity": "workflows.features.session_activity:SessionActivity",
    "session_items": "workflows.features.session_items:SessionItems",
    "calendar": "workflows.features.calendar:Calendar",
    "past_windows": "workflows.tasks.past_windows:PastWindows",
    "windows_ahead": "workflows.tasks.windows_ahead:WindowsAhead",
}
"""Name -> the class, imported when it is asked for."""


def make_family(name: str, folder: Path | None = None) -> FeatureFamily:
    """Make a feature family.

    Args:
        name: one of ``FAMILIES``, or ``module:name`` of the shop's own: a ``FeatureFamily``, its class, or a function that gives one.
        folder: where the shop's modules lie.

    Raises:
        ConfigError: there is no such family, or the shop's own raises, is none, or has no columns.
    """
    where = f"The feature family {name!r}"
    if name not in FAMILIES and ":" not in name:
        close = difflib.get_close_matches(name, FAMILIES, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Families are {', '.join(FAMILIES)}, or my_shop.features:MyFamily."
        raise ConfigError(f"There is no feature family {name!r}.", hint)
    family = called(load_hook(FAMILIES.get(name, name), where, folder), where, FeatureFamily)  # type: ignore[type-abstract]
    if not getattr(family, "columns", ()) or not all(isinstance(column, Column) for column in family.columns):
        raise ConfigError(f"{where} declares no columns.", "Give it columns = (Column(...), ...).")
    check_distinct(tuple(family.columns), where)
    return family


def make_families(names: Sequence[str], folder: Path | None = None) -> tuple[FeatureFamily, ...]:
    """Make several families, in order.

    Raises:
        ConfigError: as ``make_family``.
    """
    return tuple(make_family(name, folder) for name in names)
