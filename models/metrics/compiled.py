"""The two loops that look at every score of a list, compiled: the first k of it, and how many stand above some of it.

NumPy reads all scores once for each question and once more for each truth item; here each list is read while it is in the cache, and
without the interpreter's lock, so that threads look at several lists at a time. Scores are first compared a block at a time, by a count
that the compiler turns into vector instructions, and looked at one by one only where there is something to find.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np

_BLOCK: Final = 256
"""Scores that are compared before it is looked at which of them matter."""
_COMPARED: Final = 24
"""Truth items of a list up to which each is compared with all scores from the lowest on; more are looked up in the sorted scores."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, or take what an earlier process compiled; sums of ones may be taken in any order."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "nsz"}}
    try:
        result: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside this file nor in the user's folder can anything be written
        result = numba.njit(**options)(function)
    return result


@_compiled
def _before(value: Any, column: int, other: Any, than: int) -> bool:
    """Whether the first (score, column) is to be thrown out before the second: the lower score, of equal ones the higher column."""
    return value < other or (value == other and column > than)


@_compiled
def _sink(values: Any, columns: Any, at: int, held: int) -> None:
    """Restore the heap, whose root is the first to be thrown out, below ``at``."""
    while True:
        child = 2 * at + 1
        if child >= held:
            return
        if child + 1 < held and _before(values[child + 1], columns[child + 1], values[child], columns[child]):
            child += 1
        if not _before(values[child], columns[child], values[at], columns[at]):
            return
        values[at], values[child] = values[child], values[at]
        columns[at], columns[child] = columns[child], columns[at]
        at = child


@_compiled
def _rise(values: Any, columns: Any, at: int) -> None:
    """Restore the heap above ``at``."""
    while at > 0:
        above = (at - 1) // 2
        if not _before(values[at], columns[at], values[above], columns[above]):
            return
        values[at], values[above] = values[above], values[at]
        columns[at], columns[above] = columns[above], columns[at]
        at = above


@_compiled
def _keep(values: Any, columns: Any, held: int, value: Any, column: int) -> int:
    """Put a score into a heap that holds some, in the place of its root where it is full; return how many it holds then."""
    if held == len(values):
        values[0], columns[0] = value, column
        _sink(values, columns, 0, held)
        return held
    values[held], columns[held] = value, column
    _rise(values, columns, held)
    return held + 1


@_compiled
def best_columns(scores: Any, top: Any) -> bool:
    """Write the columns of the highest scores of each list, best first, ties to the lower column.

    Args:
        scores: float ``[A, N]``, contiguous; ``-inf`` is never written.
        top: int64 ``[A, k]`` of -1, to be filled.

    Returns:
        Whether no score is NaN.
    """
    lists, items = scores.shape
    k = top.shape[1]
    values, columns = np.empty(k, scores.dtype), np.empty(k, np.int64)
    one, zero = scores.dtype.type(1), scores.dtype.type(0)
    sound = True
    for number in range(lists):
        row, held, least = scores[number], 0, scores.dtype.type(-np.inf if k else np.inf)
        for begin in range(0, items, _BLOCK):
            end = min(begin + _BLOCK, items)
            found = zero
            for score in row[begin:end]:
                found += zero if score <= least else one
            if found == zero:
                continue
            for column in range(begin, end):
                value = row[column]
                if value != value:
                    sound = False
                elif value > least:
                    held = _keep(values, columns, held, value, column)
                    if held == k:
                        least = values[0]
        for place in range(held - 1, -1, -1):  # the first to be thrown out is the last of those that remain
            top[number, place] = columns[0]
            values[0], columns[0] = values[place], columns[place]
            _sink(values, columns, 0, place)
    return sound


@_compiled
def count_above_and_tied(scores: Any, row: Any, own: Any, order: Any, above: Any, tied: Any) -> None:
    """Count the scores of its list above each of some scores, and level with it.

    Args:
        scores: float ``[A, N]``, contiguous, none of them NaN.
        row: int64 ``[P]``, the list of each.
        own: ``[P]``, the scores in question, of the dtype of ``scores``.
        order: int64 ``[P]``, in which those of one list follow one another.
        above: int64 ``[P]``, to be filled.
        tied: int64 ``[P]``, to be filled.
    """
    kept = np.empty(scores.shape[1], scores.dtype)
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and row[order[end]] == row[order[begin]]:
            end += 1
        group, others = order[begin:end], scores[row[order[begin]]]
        if end - begin > _COMPARED:
            ordered = np.sort(others)
            for mine in group:
                last = np.searchsorted(ordered, own[mine], side="right")
                above[mine] = len(ordered) - last
                tied[mine] = last - np.searchsorted(ordered, own[mine], side="left")
        else:
            least = own[group].min()
            left = np.uint64(0)  # an index without a sign is not checked for counting from the end
            for score in others:
                kept[left] = score  # without a branch, which would be guessed wrong
                left += np.uint64(score >= least)
            for mine in group:
                higher, level = 0, 0
                for score in kept[: np.int64(left)]:
                    higher += score > own[mine]
                    level += score == own[mine]
                above[mine], tied[mine] = higher, level
        begin = end
