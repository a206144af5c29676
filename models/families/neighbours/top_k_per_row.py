"""The k largest entries of each row of a sparse matrix."""

from __future__ import annotations

from typing import Any

import numpy as np


def top_k_per_row(matrix: Any, most: int) -> Any:
    """Keep the greatest positive entries of each row.

    Args:
        matrix: ``scipy.sparse.csr_matrix`` [rows, columns] without duplicates.
        most: how many of a row; of equal ones those of lower column.

    Returns:
        A new ``scipy.sparse.csr_matrix``; the entries of a row are in descending order.
    """
    from scipy.sparse import csr_matrix

    from models.families.neighbours.pair_loops import greatest

    matrix = matrix.sorted_indices()
    lengths = np.zeros(matrix.shape[0], np.int64)
    chosen = np.empty(min(matrix.nnz, matrix.shape[0] * most), np.int64)
    greatest(matrix.indptr, matrix.data, most, lengths, chosen)
    chosen = chosen[: lengths.sum()]
    values = matrix.data[chosen]
    order = np.lexsort((-values, np.repeat(np.arange(len(lengths)), lengths)))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return csr_matrix((values[order], matrix.indices[chosen[order]], starts), shape=matrix.shape)
