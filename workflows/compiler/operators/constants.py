"""Constants of an operator as values of a column's type."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workflows.compiler.plan.types import ColumnType


def exact(value: Any, kind: ColumnType) -> str | bool | int | float | None:
    """Return a constant as a value of a column's type.

    Args:
        value: a number, a boolean or a string.
        kind: the column's type.

    Returns:
        The same value as ``str``, ``bool``, ``int`` or ``float``; None where the type does not hold it. A float is rounded to
        ``float32`` only when it is stored, but must not overflow there.
    """
    if kind.is_string or isinstance(value, str):
        return value if kind.is_string and isinstance(value, str) and _is_text(value) else None
    if kind.is_float:
        number = float(value)
        overflows = math.isfinite(number) and abs(number) > float(np.finfo(kind.numpy).max)
        return None if overflows else number
    if not math.isfinite(value) or value != int(value):
        return None
    whole = int(value)
    if kind.dtype == "bool":
        return bool(whole) if whole in (0, 1) else None
    limits = np.iinfo(kind.numpy)
    return whole if limits.min <= whole <= limits.max else None


def _is_text(value: str) -> bool:
    """Whether a string can be written in UTF-8, as half of a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)
