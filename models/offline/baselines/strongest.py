"""The strongest entries of each row of a sparse matrix."""

from __future__ import annotations

from typing import Any

import numpy as np


def strongest(matrix: Any, most: int) -> Any:
    """Keep the greatest positive entries of each row.

    Args:
        matrix: ``scipy.sparse.csr_matrix`` [rows, columns] without duplicates.
        most: how many of a row; of equal ones those of lower column.

    Returns:
        A new ``scipy.sparse.csr_matrix``; the entries of a row are in descending order.
    """
    from scipy.sparse import csr_matrix

    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, row))
    place = np.arange(len(order)) - matrix.indptr[row[order]]
    kept = order[(place < most) & (matrix.data[order] > 0)]
    starts = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=matrix.shape[0]))])
    return csr_matrix((matrix.data[kept], matrix.indices[kept], starts), shape=matrix.shape)
