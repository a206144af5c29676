"""The loop that looks back on the last distinct items of many queries, compiled. Imported only where it runs, because it needs numba."""

from __future__ import annotations

import numpy as np

from cartwheel.core.compiled_loops import compiled
from workflows.events.asof import Ints


@compiled(nogil=True)
def last_distinct(item: Ints, start: Ints, stop: Ints, order: Ints, found: Ints) -> None:
    """Write the rows of the last distinct items of ranges of interactions, most recent first, into ``found``.

    One pass over the interactions of each key, which moves every item to the front of a list of L: time grows with the events and the
    queries, whoever has them.

    Args:
        item: int64 [interactions], sorted by key and time.
        start: int64 [Q], first row of the query's key.
        stop: int64 [Q], one past the last row that it may look at.
        order: int64 [Q], the queries by ``start`` and ``stop``.
        found: int64 [Q, L], filled with -1.
    """
    length = found.shape[1]
    rows = np.empty(length, np.int64)
    known, key, row = 0, -1, 0
    for query in order:
        if start[query] != key:
            known, key, row = 0, start[query], start[query]
        while row < stop[query]:
            place = 0
            while place < known and item[rows[place]] != item[row]:
                place += 1
            if place == known:
                known = min(known + 1, length)
                place = known - 1
            while place > 0:
                rows[place] = rows[place - 1]
                place -= 1
            rows[0] = row
            row += 1
        for place in range(known):
            found[query, place] = rows[place]
