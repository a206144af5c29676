"""Validation of protocol arguments, so that errors are reported early."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from cartwheel.core.errors import UsageError


def require_share(where: str, value: object, example: str, below: float = 1.0) -> None:
    """Refuse what is no number between 0 and ``below``, both left out.

    Args:
        where: the field, as ``PerUserRatio.test``.
        value: what was given.
        example: a valid way to write it.
        below: the bound.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < below:
        raise _refused(where, value, f"a share above 0 and below {below:g}", example)


def require_count(where: str, value: object, example: str, least: int = 1) -> None:
    """Refuse what is no whole number of at least ``least``; the other arguments are those of ``require_share``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _refused(where, value, f"a whole number of at least {least}", example)


def require_one_of(where: str, value: object, choices: Sequence[str], example: str) -> None:
    """Refuse what is none of ``choices``; the other arguments are those of ``require_share``."""
    if value not in choices:
        raise _refused(where, value, " or ".join(map(repr, choices)), example)


def require_kind(where: str, value: object, kinds: tuple[type, ...], example: str) -> None:
    """Refuse what is an object of none of ``kinds``; the other arguments are those of ``require_share``."""
    if not isinstance(value, kinds):
        raise _refused(where, value, "text" if kinds == (str,) else f"a {' or '.join(kind.__name__ for kind in kinds)}", example)


def instant(where: str, text: str, example: str = "2024-01-31") -> int:
    """Return the microseconds since 1970 of a date or instant in ISO 8601; one without a zone is UTC.

    Raises:
        UsageError: if it is none; the arguments are those of ``require_share``.
    """
    try:
        # Python 3.10 does not know the Z that ISO 8601 writes for UTC.
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        raise _refused(where, text, "a date or instant such as 2024-01-31 or 2024-01-31T18:00:00Z", example) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1_000_000)


def _refused(where: str, value: object, expected: str, example: str) -> UsageError:
    return UsageError(f"{where} is {value!r}; expected {expected}.", f"Write for example {example}.")
