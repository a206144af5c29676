"""The loop that breaks the ties of many lists, compiled. Imported only where it runs, because it needs numba."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cartwheel.core.compiled_loops import compiled

BELOW_NORMAL: Final = int(np.array([np.finfo(np.float64).tiny]).view(np.int64)[0]) - 1
"""Bits of the greatest number that is left out of the numbering: subnormal ones count as 0, for some processors read them so."""
_MAGNITUDE: Final = np.int64(2**63 - 1)
"""All bits of a float64 but its sign."""
_DIGIT: Final = 11
"""Bits that one pass of the radix sort orders by; its counts stay in the nearest cache."""
_PASSES: Final = 3
"""Passes that the highest bits take."""
_FEW: Final = 48
"""Numbers that are sooner put in order one by one."""


_FINER: Final = np.int64(2**29 - 1)
"""Bits of a float64 that are 0 where it has a value of single precision."""
_SPREADING: Final = np.uint64(0x9E3779B97F4A7C15)
"""Multiplier that spreads numbers over a table (Knuth, The Art of Computer Programming, volume 3, 6.4)."""


@compiled(nogil=True)
def _numbered(bits: Any) -> Any:
    """Return the integer of the bits of a float64: successive ones for successive normal numbers, 0 for 0."""
    magnitude = (bits & _MAGNITUDE) - BELOW_NORMAL
    if magnitude <= 0:
        return np.int64(0)
    return -magnitude if bits < 0 else magnitude


@compiled(nogil=True)
def _bits(number: Any) -> Any:
    """Return the bits of what ``_numbered`` numbers so; 0 for 0."""
    if number == 0:
        return np.int64(0)
    if number < 0:
        return (-number + BELOW_NORMAL) | ~_MAGNITUDE
    return number + BELOW_NORMAL


@compiled(nogil=True)
def _sort_few(numbers: Any, places: Any, begin: int, end: int) -> None:
    for at in range(begin + 1, end):
        number, place, before = numbers[at], places[at], at - 1
        while before >= begin and numbers[before] > number:
            numbers[before + 1], places[before + 1] = numbers[before], places[before]
            before -= 1
        numbers[before + 1], places[before + 1] = number, place


@compiled(nogil=True)
def _pass(numbers: Any, places: Any, target: Any, target_places: Any, shift: Any, starts: Any) -> None:
    """Move all numbers to ``target``, in the order of one digit, equal ones as they stood."""
    digits, move = np.uint64((1 << _DIGIT) - 1), np.uint64(shift)
    for digit in range(len(starts)):
        starts[digit] = 0
    for at in range(np.uint64(len(numbers))):
        starts[(np.uint64(numbers[at]) >> move) & digits] += np.uint32(1)
    total = np.uint32(0)
    for digit in range(len(starts)):
        count = starts[digit]
        starts[digit] = total
        total += count
    for at in range(np.uint64(len(numbers))):
        own = (np.uint64(numbers[at]) >> move) & digits
        target[starts[own]], target_places[starts[own]] = numbers[at], places[at]
        starts[own] += np.uint32(1)


@compiled(nogil=True)
def _sort_by(numbers: Any, places: Any, aside: Any, places_aside: Any, low: int, differing: Any) -> None:
    """Put numbers in the order of their bits from ``low`` on, where those of ``differing`` differ, equal ones as they stood."""
    starts, moved, shift = np.empty(1 << _DIGIT, np.uint32), False, low
    while (differing >> shift) > 0:
        if (differing >> shift) & ((1 << _DIGIT) - 1):
            if moved:
                _pass(aside, places_aside, numbers, places, shift, starts)
            else:
                _pass(numbers, places, aside, places_aside, shift, starts)
            moved = not moved
        shift += _DIGIT
    if moved:
        for at in range(len(numbers)):
            numbers[at], places[at] = aside[at], places_aside[at]


@compiled(nogil=True)
def _sort(numbers: Any, places: Any, aside: Any, places_aside: Any) -> None:
    """Put numbers in ascending order, equal ones as they stood, and their places with them.

    Ordered are first the highest bits, by which nearly all scores differ, then what these leave level.

    Args:
        numbers: int64 ``[n]``, changed in place.
        places: int32 ``[n]``, likewise.
        aside: int64 with room for as many, overwritten.
        places_aside: int32, likewise.
    """
    if len(numbers) <= _FEW:
        _sort_few(numbers, places, 0, len(numbers))
        return
    lowest, differing = numbers[0], np.int64(0)
    for number in numbers:
        lowest = min(lowest, number)
    for at in range(len(numbers)):
        numbers[at] -= lowest
        differing |= numbers[at] ^ numbers[0]
    low = np.int64(0)
    while (differing >> low) >> (_PASSES * _DIGIT):
        low += 1
    _sort_by(numbers, places, aside[: len(numbers)], places_aside[: len(numbers)], low, differing)
    begin, rest = 0, differing & ((np.int64(1) << low) - 1)
    while rest and begin < len(numbers):
        end, level = begin + 1, True
        while end < len(numbers) and numbers[end] >> low == numbers[begin] >> low:
            level &= numbers[end] == numbers[begin]
            end += 1
        if end - begin <= _FEW:
            _sort_few(numbers, places, begin, end)
        elif not level:
            _sort_by(numbers[begin:end], places[begin:end], aside[begin:end], places_aside[begin:end], np.int64(0), rest)
        begin = end
    for at in range(len(numbers)):
        numbers[at] += lowest


@compiled(nogil=True)
def _spread(numbers: Any, places: Any, count: int, rank: Any, floor: Any) -> Any:
    """Number each different (number, rank) pair of an ascending list by its own number, or above its predecessor where that is greater.

    Args:
        numbers: int64, the first ``count`` of them; changed in place.
        places: int32, where in ``rank`` each stands.
        count: how many.
        rank: int64.
        floor: the lowest number that may be given.

    Returns:
        One above the last number, ``floor`` where there is none.
    """
    step, reached = np.int64(0), np.iinfo(np.int64).min
    own_before, level_before = np.int64(0), np.int64(0)
    for at in range(count):
        own, level = numbers[at], rank[places[at]]
        if at and (own != own_before or level != level_before):
            step += 1
        own_before, level_before = own, level
        reached = max(reached, own - step)
        numbers[at] = max(reached, floor) + step
    return numbers[count - 1] + 1 if count else floor


@compiled(nogil=True)
def _write(scores: Any, order: Any, numbers: Any, places: Any) -> None:
    for at in range(len(numbers)):
        scores[order[places[at]]] = _bits(numbers[at])


@compiled(nogil=True)
def _find_level(numbers: Any, table: Any, tied: Any) -> bool:
    """Find the numbers that are held more than once.

    Args:
        numbers: int64 ``[n]``, none of them 0.
        table: int32, at least four times as many places as numbers; overwritten.
        tied: bool ``[n]``, written: whether another number is the same.

    Returns:
        Whether all are of single precision; if not, they are not looked at to the end, for one that is put above another might reach a
        third.
    """
    slots = 1
    while slots < 2 * len(numbers):
        slots *= 2
    table[:slots] = -1
    last = slots - 1
    for at in range(len(numbers)):
        number = numbers[at]
        if (number + BELOW_NORMAL) & _FINER if number > 0 else (BELOW_NORMAL - number) & _FINER:
            return False
        tied[at] = False
        place = np.int64((np.uint64(number) * _SPREADING) >> np.uint64(32)) & last
        while table[place] >= 0 and numbers[table[place]] != number:
            place = (place + 1) & last
        first = table[place]
        if first < 0:
            table[place] = at
        else:
            tied[first] = tied[at] = True
    return True


@compiled(nogil=True)
def _settle(scores: Any, order: Any, rank: Any, numbers: Any, places: Any, floor: Any, room: Any) -> Any:
    """Break the ties among the scores above 0 of a list, or among those below; return one above the highest number given.

    Args:
        scores: int64 ``[items]``, the bits of the list, changed in place.
        order: int64 ``[items]``.
        rank: int64 ``[items]``.
        numbers: int64 ``[n]``, the numbers of the scores in question; overwritten.
        places: int32 ``[n]``, where in ``order`` each stands, ascending; overwritten.
        floor: the lowest number that may be given.
        room: int64, int32, int32 and bool arrays that are overwritten.
    """
    aside, places_aside, table, tied = room
    count, top, lowest = len(numbers), floor, np.iinfo(np.int64).max
    for number in numbers:
        lowest, top = min(lowest, number), max(top, number + 1)
    # Single precision leaves more room between two numbers than there are items: only those that are level have to move.
    if count > _FEW and lowest - count >= floor and _find_level(numbers, table, tied[:count]):
        kept = 0
        for at in range(count):
            if tied[at]:
                numbers[kept], places[kept] = numbers[at], places[at]
                kept += 1
        count = kept
    _sort(numbers[:count], places[:count], aside, places_aside)
    reached = _spread(numbers, places, count, rank, floor)
    _write(scores, order, numbers[:count], places[:count])
    return max(top, reached)


@compiled(nogil=True)
def break_ties(bits: Any, order: Any, rank: Any) -> None:
    """Break the ties of each list; see ``models.families.popularity_order``.

    Args:
        bits: int64 ``[q, items]``, the bits of float64 scores, contiguous; changed in place.
        order: int64 ``[items]``, the items by ascending rank.
        rank: int64 ``[items]``, the ranks in that order.
    """
    lists, items = bits.shape
    below, above, aside = np.empty(items, np.int64), np.empty(items, np.int64), np.empty(items, np.int64)
    below_places, above_places = np.empty(items, np.int32), np.empty(items, np.int32)
    places_aside, level = np.empty(items, np.int32), np.empty(items, np.int32)
    room = aside, places_aside, np.empty(4 * items, np.int32), np.empty(items, np.bool_)
    for row in range(lists):
        scores = bits[row]
        low, mid, high = 0, 0, 0
        for place in range(items):
            number = _numbered(scores[order[place]])
            if number == 0:  # most of the list, where little is known: needs no sorting, for it comes by rank
                level[mid] = place
                mid += 1
            elif number > 0:
                above[high], above_places[high] = number, place
                high += 1
            else:
                below[low], below_places[low] = number, place
                low += 1
        floor = _settle(scores, order, rank, below[:low], below_places[:low], np.iinfo(np.int64).min, room)
        if mid:
            first = max(floor, np.int64(0))
            for place in level[:mid]:
                scores[order[place]] = _bits(first + rank[place])
            floor = first + rank[level[mid - 1]] + 1
        _settle(scores, order, rank, above[:high], above_places[:high], floor, room)
