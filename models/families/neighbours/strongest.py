"""The strongest entries of each row of a sparse matrix."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

_CELLS: Final = 4_000_000
"""Entries, gaps of short rows included, that are sorted at a time."""


def strongest(matrix: Any, most: int) -> Any:
    """Keep the greatest positive entries of each row.

    Args:
        matrix: ``scipy.sparse.csr_matrix`` [rows, columns] without duplicates.
        most: how many of a row; of equal ones those of lower column.

    Returns:
        A new ``scipy.sparse.csr_matrix``; the entries of a row are in descending order.
    """
    from scipy.sparse import csr_matrix

    matrix = matrix.sorted_indices()
    lengths = np.diff(matrix.indptr)
    kept, counts = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)]
    begin = 0
    while begin < len(lengths):
        widest = np.maximum.accumulate(lengths[begin : begin + _CELLS])
        rows = max(1, int(np.searchsorted(widest * np.arange(1, len(widest) + 1), _CELLS, "right")))
        places = _strongest(matrix.data, matrix.indptr[begin : begin + rows + 1], most)
        kept.append(places[places >= 0])
        counts.append((places >= 0).sum(axis=1))
        begin += rows
    chosen, starts = np.concatenate(kept), np.cumsum(np.concatenate(counts))
    return csr_matrix((matrix.data[chosen], matrix.indices[chosen], starts), shape=matrix.shape)


def _strongest(data: Any, starts: Any, most: int) -> Any:
    """Return [rows, at most ``most``] the places of the greatest entries of some successive rows, -1 behind the last positive one."""
    lengths = np.diff(starts)
    filled = np.arange(int(lengths.max(initial=0))) < lengths[:, None]
    table = np.full(filled.shape, -np.inf)
    table[filled] = data[starts[0] : starts[-1]]
    order = np.argsort(-table, axis=1, kind="stable")[:, :most]
    positive = np.take_along_axis(table, order, axis=1) > 0
    return np.where(positive, starts[:-1, None] + order, -1)
