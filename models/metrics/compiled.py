"""Compiled loops over the scores of a list: its top k, and the ranks of given items.

NumPy reads all scores once for each question and once more for each truth item; here each list is read while it is in the cache, and
without the interpreter's lock, so that threads look at several lists at a time. Scores are first compared a block at a time, by a count
that the compiler turns into vector instructions, and looked at one by one only where there is something to find.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cartwheel.core.compiled_loops import compiled

_BLOCK: Final = 256
"""Scores that are compared before it is looked at which of them matter."""
NEAR: Final = 2048
"""Scores that each truth item is compared with in turn: they stay in the nearest cache, and a count of them is exact in any float."""
DROPPING: Final = 9
"""Truth items of a list with which all scores are sooner compared than those below the lowest are left out first, as measured."""


_loop = compiled(nogil=True, fastmath={"reassoc", "nsz"})  # sums of ones may be taken in any order


@_loop
def _before(value: Any, column: int, other: Any, than: int) -> bool:
    """Whether the first (score, column) is to be thrown out before the second: the lower score, of equal ones the higher column."""
    return value < other or (value == other and column > than)


@_loop
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


@_loop
def _rise(values: Any, columns: Any, at: int) -> None:
    """Restore the heap above ``at``."""
    while at > 0:
        above = (at - 1) // 2
        if not _before(values[at], columns[at], values[above], columns[above]):
            return
        values[at], values[above] = values[above], values[at]
        columns[at], columns[above] = columns[above], columns[at]
        at = above


@_loop
def _keep(values: Any, columns: Any, held: int, value: Any, column: int) -> int:
    """Put a score into a heap that holds some, in the place of its root where it is full; return how many it holds then."""
    if held == len(values):
        values[0], columns[0] = value, column
        _sink(values, columns, 0, held)
        return held
    values[held], columns[held] = value, column
    _rise(values, columns, held)
    return held + 1


@_loop
def _not_up_to(part: Any, bound: Any) -> Any:
    """Count the scores that are not at most ``bound``: those above it, and NaN.

    A count in the scores' own type, by an index without a sign, becomes vector instructions that compare 16 scores at a time (float32,
    AVX-512); by an integer, or by an index that may count from the end, it takes eight times as long.
    """
    one, zero = part.dtype.type(1), part.dtype.type(0)
    found = zero
    for at in range(np.uint64(len(part))):
        found += zero if part[at] <= bound else one
    return found


@_loop
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
    sound = True
    for number in range(lists):
        row, held, least = scores[number], 0, scores.dtype.type(-np.inf if k else np.inf)
        for begin in range(0, items, _BLOCK):
            part = row[begin : begin + _BLOCK]
            if _not_up_to(part, least) == 0:
                continue
            for at in range(len(part)):
                value = part[at]
                if value != value:
                    sound = False
                elif value > least:
                    held = _keep(values, columns, held, value, begin + at)
                    if held == k:
                        least = values[0]
        for place in range(held - 1, -1, -1):  # the first to be thrown out is the last of those that remain
            top[number, place] = columns[0]
            values[0], columns[0] = values[place], columns[place]
            _sink(values, columns, 0, place)
    return sound


@_loop
def _at_least(others: Any, least: Any, kept: Any) -> Any:
    """Write those of the scores that are at least ``least`` to the beginning of ``kept`` ``[N]``; return how many there are."""
    left = np.uint64(0)
    for at in range(np.uint64(len(others))):
        kept[left] = others[at]  # without a branch, which would be guessed wrong
        left += np.uint64(others[at] >= least)
    return np.int64(left)


@_loop
def _above_and_level(part: Any, mine: Any) -> Any:
    """Count the scores above one and level with it; as in ``_not_up_to``, in their own type."""
    one, zero = part.dtype.type(1), part.dtype.type(0)
    above, reached = zero, zero
    for at in range(np.uint64(len(part))):
        above += one if part[at] > mine else zero
        reached += one if part[at] >= mine else zero
    return np.int64(above), np.int64(reached - above)


@_loop
def count_above_and_tied(scores: Any, row: Any, own: Any, order: Any, above: Any, tied: Any) -> None:
    """Count the scores of its list above each of some scores, and level with it.

    Args:
        scores: float ``[A, N]``, contiguous, none of them NaN.
        row: int64 ``[P]``, the list of each.
        own: ``[P]``, the scores in question, of the dtype of ``scores``.
        order: int64 ``[p]``, those that are to be counted for; those of one list follow one another.
        above: int64 ``[P]`` of 0, to be filled.
        tied: int64 ``[P]`` of 0, to be filled.
    """
    kept = np.empty(scores.shape[1], scores.dtype)
    begin = 0
    while begin < len(order):
        others, least, end = scores[row[order[begin]]], own[order[begin]], begin + 1
        while end < len(order) and row[order[end]] == row[order[begin]]:
            least = min(least, own[order[end]])
            end += 1
        if end - begin > DROPPING:
            others = kept[: _at_least(others, least, kept)]
        for near in range(0, len(others), NEAR):
            part = others[near : near + NEAR]
            for mine in order[begin:end]:
                higher, level = _above_and_level(part, own[mine])
                above[mine] += higher
                tied[mine] += level
        begin = end


@compiled(nogil=True)  # sums in the order of the scores, whatever the compiler would prefer
def areas_of(cell: Any, groups: int, owner: Any, counts: Any, found: Any) -> None:
    """Write the areas under the ROC curve and the precision-recall curve of labelled scores under many weights.

    Args:
        cell: int64 ``[n]``, the distinct score of each row, ascending from 0, with ``groups`` added for false rows.
        groups: how many distinct scores there are.
        owner: int64 ``[n]``, the column of ``counts`` that holds the weight of each row.
        counts: ``[resamples, owners]``.
        found: float64 ``[resamples, 2]``, to be filled; see ``models.metrics.classification.Thresholds.areas``.
    """
    sums = np.empty(2 * groups, np.float64)
    for resample in range(len(counts)):
        sums[:] = 0.0
        for row in range(len(cell)):
            sums[cell[row]] += counts[resample, owner[row]]
        n_true, n_false = 0.0, 0.0
        for group in range(groups):
            n_true += sums[group]
            n_false += sums[groups + group]
        roc, precision, true_below, false_below = 0.0, 0.0, 0.0, 0.0
        for group in range(groups):
            true, false = sums[group], sums[groups + group]
            roc += true * (false_below + false / 2.0)
            true_shown = n_true - true_below
            shown = true_shown + n_false - false_below
            if shown > 0:
                precision += true * true_shown / shown
            true_below += true
            false_below += false
        found[resample, 0] = roc / (n_true * n_false) if n_true > 0 and n_false > 0 else np.nan
        found[resample, 1] = precision / n_true if n_true > 0 else np.nan
