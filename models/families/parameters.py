"""Validation of a recommender's parameters."""

from __future__ import annotations

from cartwheel.core.errors import UsageError


def require_positive(model: str, **values: float | None) -> None:
    """Refuse parameters that are not above 0; None passes, it stands for no limit.

    Raises:
        UsageError: naming the model, the parameter and what was found.

    >>> require_positive("item_knn", neighbours=0)
    Traceback (most recent call last):
    cartwheel.core.errors.UsageError: item_knn: neighbours is 0. Give a number above 0.
    """
    for name, value in values.items():
        if value is not None and not value > 0:
            raise UsageError(f"{model}: {name} is {value}.", "Give a number above 0.")


def require_not_negative(model: str, **values: float) -> None:
    """Refuse parameters below 0.

    Raises:
        UsageError: naming the model, the parameter and what was found.
    """
    for name, value in values.items():
        if not value >= 0:
            raise UsageError(f"{model}: {name} is {value}.", "Give 0 or a number above it.")
