"""The loop that finds the nearest sessions of many running ones, compiled. Imported only where it runs, because it needs numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from cartwheel.core.compiled_loops import compiled
from models.families.neighbours.pair_loops import last_kept


@compiled(nogil=True)
def _distinct(running: Any, seen: Any, items: Any, from_end: Any) -> int:
    """Write the distinct items of a session, and how far each one's last event is from its end; return how many there are."""
    held = 0
    for back in range(len(running)):
        item = running[len(running) - 1 - back]
        if not seen[item]:
            seen[item] = True
            items[held], from_end[held] = item, back
            held += 1
    for item in items[:held]:
        seen[item] = False
    return held


@compiled(nogil=True)
def _share(
    items: Any, from_end: Any, length: int, item_starts: Any, sessions: Any, sample: int, shared: Any, place: Any, found: Any
) -> int:
    """List the sessions that share one of some items, with how much and where last; return how many there are.

    A session among the latest of all that share an item is among the latest of each item that it shares.
    """
    count = 0
    for at in range(len(items)):
        end = item_starts[items[at] + 1]
        for each in sessions[max(item_starts[items[at]], end - sample) : end]:
            if shared[each] == 0:
                found[count] = each
                place[each] = from_end[at] + 1
                count += 1
            shared[each] += length - from_end[at]
            place[each] = min(place[each], from_end[at] + 1)
    return count


@compiled(nogil=True)
def _room(items: Any, item_starts: Any, sample: int, found: Any) -> Any:
    """Return an array that has room for the sessions that may share one of the items."""
    most = 0
    for item in items:
        most += min(sample, item_starts[item + 1] - item_starts[item])
    return found if most <= len(found) else np.empty(most, np.int64)


@compiled(nogil=True)
def _latest(found: Any, sample: int) -> Any:
    """Return the latest of some sessions, in any order."""
    if len(found) <= sample:
        return found.copy()
    oldest, _ = last_kept(found + 1.0, np.empty(sample, np.float64))
    latest, held = np.empty(sample, np.int64), 0
    for each in found:
        if each + 1 >= oldest:
            latest[held] = each
            held += 1
    return latest


@compiled(nogil=True)
def _keep_nearest(found: Any, similarity: Any, neighbours: int) -> int:
    """Put the most similar of some sessions to the front, of equal ones the later; return how many there are."""
    if len(found) <= neighbours:
        return len(found)
    least, level = last_kept(similarity, np.empty(neighbours, np.float64))
    oldest, _ = last_kept((found + 1.0) * (similarity == least), np.empty(level, np.float64))
    kept = 0
    for at in range(len(found)):
        if similarity[at] > least or (similarity[at] == least and found[at] + 1 >= oldest):
            found[kept], similarity[kept] = found[at], similarity[at]
            kept += 1
    return kept


@compiled(nogil=True)
def _sort(found: Any, similarity: Any) -> None:
    """Put some sessions, with how similar they are, in the order in which they ended."""
    for at in range(1, len(found)):
        each, like, before = found[at], similarity[at], at - 1
        while before >= 0 and found[before] > each:
            found[before + 1], similarity[before + 1] = found[before], similarity[before]
            before -= 1
        found[before + 1], similarity[before + 1] = each, like


@compiled(nogil=True)
def _norm(from_end: Any, length: int) -> float:
    squares = 0
    for back in from_end:
        squares += (length - back) ** 2
    return float(np.sqrt(squares))


@compiled(nogil=True)
def add_neighbours(
    history: Any,
    ends: Any,
    lengths: Any,
    item_starts: Any,
    sessions: Any,
    session_starts: Any,
    contents: Any,
    neighbours: int,
    sample: int,
    cosine: bool,
    decay: bool,
    result: Any,
) -> None:
    """Add up for each item how similar the sessions that hold it are, of those that are most like the running one; see ``VSKNN``.

    Args:
        history: int64, items of all askers.
        ends: int64 ``[q]``, one past each asker's last item.
        lengths: int64 ``[q]``, how many of the last items are of the running session.
        item_starts: int64 ``[items + 1]``, where each item's sessions begin.
        sessions: int64, of each item, numbered from the one that ended first, ascending.
        session_starts: int64 ``[sessions + 1]``, where each session's items begin.
        contents: int64, distinct items of each session, ascending.
        neighbours: how many sessions add to a score.
        sample: how many of the latest that share an item are compared.
        cosine: whether similarity is divided by the lengths of both.
        decay: whether a session counts less, the further from the end of the running one the last item is that it shares.
        result: float64 ``[q, items]`` of 0, to be filled.
    """
    # Units of 1 / length: sums of integers are exact, so equal similarities tie.
    shared, place = np.zeros(len(session_starts) - 1, np.int64), np.empty(len(session_starts) - 1, np.int64)
    seen, found = np.zeros(len(item_starts) - 1, np.bool_), np.empty(1024, np.int64)
    for asker in range(len(ends)):
        length = lengths[asker]
        items, from_end = np.empty(length, np.int64), np.empty(length, np.int64)
        held = _distinct(history[ends[asker] - length : ends[asker]], seen, items, from_end)
        items, from_end = items[:held], from_end[:held]
        found = _room(items, item_starts, sample, found)
        count = _share(items, from_end, length, item_starts, sessions, sample, shared, place, found)
        latest = _latest(found[:count], sample)
        similarity = np.empty(len(latest), np.float64)
        for at in range(len(latest)):
            size = session_starts[latest[at] + 1] - session_starts[latest[at]]
            similarity[at] = shared[latest[at]] / (np.sqrt(size) if cosine else 1.0)
        kept = _keep_nearest(latest, similarity, neighbours)
        _sort(latest[:kept], similarity[:kept])  # or rounding could tell equal items apart
        unit = _norm(from_end, length) if cosine else float(max(length, 1))
        for at in range(kept):
            each = latest[at]
            strength = similarity[at] / (unit * place[each] if decay else unit)
            for item in contents[session_starts[each] : session_starts[each + 1]]:
                result[asker, item] += strength
        for each in found[:count]:
            shared[each] = 0
