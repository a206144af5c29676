"""A sparse matrix built by several threads in blocks of rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.cores import cores
from cartwheel.core.progress import PATIENCE, progress

_THREADS: Final = cores()
_ROWS: Final = 256
"""Rows that a thread makes at a time."""
_ROOM: Final = 65_536
"""Entries that there is room for at a time, beside those of one row."""

Ints = npt.NDArray[np.int64]
Columns = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Fill = Callable[[int, int, Ints, Columns, Floats], int]
"""Writes rows from one up to another: how many entries each has, their columns in any order, and their values, one row behind the other.

It stops before a row for which there might be no room, returns where, and lets other threads run meanwhile.
"""


def in_blocks(title: str, rows: int, fill: Fill) -> Any:
    """Make a square matrix, its blocks of rows in as many threads as there are cores.

    Args:
        title: what to call it in the progress.
        rows: how many.
        fill: makes some of them.

    Returns:
        ``scipy.sparse.csr_matrix`` float64 [rows, rows], its columns ascending in each row.
    """
    from scipy.sparse import csr_matrix

    lengths, columns, values = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0)]
    waiting: deque[Future[list[tuple[Ints, Columns, Floats]]]] = deque()

    def take(most: int) -> None:
        while len(waiting) > most:
            for part in waiting.popleft().result():
                lengths.append(part[0])
                columns.append(part[1])
                values.append(part[2])
                advance(len(part[0]))

    with progress(title, rows, patience=PATIENCE) as advance, ThreadPoolExecutor(_THREADS) as pool:
        for begin in range(0, rows, _ROWS):
            waiting.append(pool.submit(_block, begin, min(begin + _ROWS, rows), rows, fill))
            take(2 * _THREADS)
        take(0)
    starts = np.cumsum(np.concatenate(lengths))
    result = csr_matrix((_joined(values), _joined(columns), starts), shape=(rows, rows))
    result.sort_indices()  # sums run in one order, so that equal rows give equal scores
    return result


def _block(begin: int, end: int, width: int, fill: Fill) -> list[tuple[Ints, Columns, Floats]]:
    parts = []
    columns, values = np.empty(width + _ROOM, np.int32), np.empty(width + _ROOM)
    while begin < end:
        lengths = np.zeros(end - begin, np.int64)
        stopped = fill(begin, end, lengths, columns, values)
        lengths = lengths[: stopped - begin]
        filled = int(lengths.sum())
        parts.append((lengths, columns[:filled].copy(), values[:filled].copy()))
        begin = stopped
    return parts


def _joined(parts: list[Any]) -> Any:
    """Return the parts as one array and let go of them."""
    result = np.concatenate(parts)
    parts.clear()
    return result
