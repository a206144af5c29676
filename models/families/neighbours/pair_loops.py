"""The loops over pairs of items that item kNN and sequential rules learn from, compiled. Imported only where they run: they need numba.

Each handles some successive items and needs memory for one row of the matrix beside what it returns, so several threads run at a time.
What an item gets depends on no other, so neither blocks nor threads change a bit of it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cartwheel.core.compiled_loops import compiled

COSINE: Final = 0
JACCARD: Final = 1
LIFT: Final = 2


@compiled(nogil=True)
def sift(heap: Any, held: int, value: float) -> int:
    """Put a value into a heap of the greatest, in the place of its root, the least, where it is full; return how many it holds then."""
    if held < len(heap):
        at = held
        while at > 0 and heap[(at - 1) // 2] > value:
            heap[at] = heap[(at - 1) // 2]
            at = (at - 1) // 2
        heap[at] = value
        return held + 1
    at = 0
    while 2 * at + 1 < held:
        child = 2 * at + 1
        if child + 1 < held and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value
    return held


@compiled(nogil=True)
def _similarity(kind: int, both: float, one: float, other: float, shrinkage: float) -> Any:
    if kind == COSINE:
        return both / (np.sqrt(one * other) + shrinkage)
    if kind == JACCARD:
        return both / (one + other - both + shrinkage)
    return both / (one * other + shrinkage)


@compiled(nogil=True)
def _meet(own: Any, item_starts: Any, items: Any, together: Any, touched: Any) -> int:
    """Count how many of an item's holders hold each item into ``together``, and list these; return how many there are."""
    others = 0
    for holder in own:
        for other in items[item_starts[holder] : item_starts[holder + 1]]:
            if together[other] == 0:
                touched[others] = other
                others += 1
            together[other] += 1
    return others


@compiled(nogil=True)
def _compare(
    item: int, touched: Any, together: Any, count: Any, kind: int, shrinkage: float, similarity: Any, heap: Any
) -> float:
    """Compute how similar an item is to those that it meets, and forget their counts; return the least that is kept."""
    held, least = 0, 0.0
    for other in touched:
        both = together[other]
        together[other] = 0
        similarity[other] = 0.0 if other == item else _similarity(kind, both, count[item], count[other], shrinkage)
        if similarity[other] > least:
            held = sift(heap, held, similarity[other])
            if held == len(heap):
                least = heap[0]
    return least


@compiled(nogil=True)
def nearest(
    begin: int,
    end: int,
    holder_starts: Any,
    holders: Any,
    item_starts: Any,
    items: Any,
    kind: int,
    shrinkage: float,
    most: int,
    lengths: Any,
    columns: Any,
    values: Any,
) -> int:
    """Find the nearest items of those from ``begin`` on; see ``blocks.Fill`` for what is written.

    Args:
        begin: the first item.
        end: behind the last.
        holder_starts: ``[items + 1]`` where each item's holders (users or sessions) begin in ``holders``.
        holders: int32, the distinct holders of each item.
        item_starts: ``[holders + 1]`` where each holder's items begin in ``items``.
        items: int32, the distinct items of each holder.
        kind: ``COSINE``, ``JACCARD`` or ``LIFT``.
        shrinkage: added to what is divided by.
        most: how many of each item, and those exactly as near as the last of them; as many as there are items keeps all.
        lengths: int64 ``[end - begin]``, to be filled: how many each item has.
        columns: int32, to be filled.
        values: float64, to be filled: similarities, above 0.

    Returns:
        Behind the last item that there was room for.
    """
    number = len(holder_starts) - 1
    count, similarity = np.empty(number, np.float64), np.empty(number, np.float64)
    for item in range(number):
        count[item] = holder_starts[item + 1] - holder_starts[item]
    together, touched = np.zeros(number, np.int32), np.empty(number, np.int32)
    heap, filled = np.empty(min(most, number), np.float64), 0
    for item in range(begin, end):
        if filled + number > len(columns):
            return item
        others = _meet(holders[holder_starts[item] : holder_starts[item + 1]], item_starts, items, together, touched)
        least = _compare(item, touched[:others], together, count, kind, shrinkage, similarity, heap)
        for other in touched[:others]:
            if similarity[other] >= least and similarity[other] > 0.0:
                columns[filled], values[filled] = other, similarity[other]
                filled += 1
                lengths[item - begin] += 1
    return end


@compiled(nogil=True)
def _follow(item: int, own: Any, distance: int, items: Any, groups: Any, near: Any, followers: Any) -> int:
    """Count what follows an item at a distance into ``near``, and list it; return how many different items there are."""
    found = 0
    for place in own:
        then = place + distance
        if then >= len(items) or groups[then] != groups[place] or items[then] == item:
            continue
        if near[items[then]] == 0:
            followers[found] = items[then]
            found += 1
        near[items[then]] += 1
    return found


@compiled(nogil=True)
def rules(
    begin: int,
    end: int,
    starts: Any,
    places: Any,
    items: Any,
    groups: Any,
    window: int,
    shrinkage: float,
    held_back: Any,
    lengths: Any,
    columns: Any,
    values: Any,
) -> int:
    """Count what follows the items from ``begin`` on; see ``blocks.Fill`` for what is written.

    Args:
        begin: the first item.
        end: behind the last.
        starts: ``[items + 1]`` where each item's events begin in ``places``.
        places: where each item occurs in the log, ascending.
        items: int32 ``[n]``, the log, group by group in order of time.
        groups: ``[n]``, who each event belongs to.
        window: how many steps further a rule reaches.
        shrinkage: added to how often an item occurs.
        held_back: float64 ``[items]``, what a rule to each item is divided by.
        lengths: int64 ``[end - begin]``, to be filled: how many rules each item has.
        columns: int32, to be filled: what they lead to.
        values: float64, to be filled: their weights.

    Returns:
        Behind the last item that there was room for.
    """
    number = len(starts) - 1
    total, near = np.zeros(number, np.float64), np.zeros(number, np.int32)
    touched, followers, filled = np.empty(number, np.int32), np.empty(number, np.int32), 0
    for item in range(begin, end):
        if filled + number > len(columns):
            return item
        found = 0
        own = places[starts[item] : starts[item + 1]]
        for distance in range(1, window + 1):
            there = _follow(item, own, distance, items, groups, near, followers)
            for other in followers[:there]:
                if total[other] == 0.0:
                    touched[found] = other
                    found += 1
                total[other] += near[other] / distance  # from whole counts: items that follow alike get equal weights
                near[other] = 0
        for other in touched[:found]:
            columns[filled], values[filled] = other, total[other] / ((len(own) + shrinkage) * held_back[other])
            total[other] = 0.0
            filled += 1
        lengths[item - begin] = found
    return end


@compiled(nogil=True)
def last_kept(values: Any, heap: Any) -> Any:
    """Return the least of the greatest positive values, as many as the heap has room for, and how many level with it are among them."""
    held, least, above = 0, 0.0, 0
    for value in values:
        if value > least:
            held = sift(heap, held, value)
            if held == len(heap):
                least = heap[0]
    for value in values:
        above += value > least
    return least, (held - above if least > 0.0 else 0)


@compiled(nogil=True)
def greatest(starts: Any, values: Any, most: int, lengths: Any, chosen: Any) -> None:
    """Find the greatest positive entries of each row of a sparse matrix.

    Args:
        starts: ``[rows + 1]`` where each row begins.
        values: the entries, by ascending column in each row.
        most: how many of a row, at least 1; of equal ones those of lower column.
        lengths: int64 ``[rows]`` of 0, to be filled: how many each has.
        chosen: int64 with room for ``most`` of each row, to be filled: where they stand, ascending.
    """
    heap, filled = np.empty(min(most, len(values)), np.float64), 0
    for row in range(len(lengths)):
        begin, own = starts[row], values[starts[row] : starts[row + 1]]
        least, level = last_kept(own, heap[: min(most, len(own))])
        for at in range(len(own)):
            if own[at] > least or (own[at] == least and level > 0):
                level -= own[at] == least
                chosen[filled] = begin + at
                filled += 1
                lengths[row] += 1
