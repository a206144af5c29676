"""Loops that numba compiles at their first call, once for all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function at its first call, or take what an earlier process compiled.

    What is kept is taken as long as the file of the function itself is unchanged, whatever else it calls.

    Args:
        options: of ``numba.njit``.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            result: Callable[..., Any] = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither beside the function's file nor in the user's folder can anything be written
            result = numba.njit(**options)(function)
        return result

    return decorate
