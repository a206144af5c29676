"""The weights that reconstruct histories best: the closed form of EASE, over items or over users, whichever are fewer.

With X [users, items] and P = (X'X + l2 I)^-1, the weights are B(i, j) = -P(i, j) / P(j, j). Where users are fewer than items, P is had
from a smaller inverse (Woodbury, 1950): P = (I - Q) / l2 with Q = X'(XX' + l2 I)^-1 X, so that B(i, j) = Q(i, j) / (1 - Q(j, j)).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.progress import PATIENCE, Advance, progress
from models.questions.interactions import Floats

Weights = npt.NDArray[np.float32]

_BLOCK: Final = 1024
"""Rows or columns handled at a time."""
_NARROW: Final = 256
"""Columns handled at a time where all of their cells are held in float64."""
_INVERTED: Final = 8
"""Bytes of each pair in the matrix that is inverted (float64)."""
_KEPT: Final = 4
"""Bytes of each weight (float32)."""


def bytes_needed(users: int, items: int) -> int:
    """Return the memory that the weights of some items take while they are learnt from some users."""
    return min(users, items) ** 2 * _INVERTED + items**2 * _KEPT


def reconstruction(history: Any, l2: float, title: str) -> Weights:
    """Return B [items, items], 0 on the diagonal.

    The inverse is taken in float64. As float32 the weights take half the memory, and those that differ by rounding only become equal.

    Args:
        history: binary ``scipy.sparse.csr_matrix`` [users, items].
        l2: penalty, above 0.
        title: what to call it in the progress.
    """
    history = history[np.diff(history.indptr) > 0]
    users, items = history.shape
    learning = _blocks(items, _NARROW) if users < items else _blocks(items)
    with progress(title, 2 * _blocks(min(users, items)) + learning, patience=PATIENCE) as advance:
        if users < items:
            return _from_users(history, _inverse(_gram(history.T.tocsr(), advance), l2, advance), advance)
        return _from_items(_inverse(_gram(history, advance), l2, advance), advance)


def _blocks(number: int, size: int = 0) -> int:
    return -(-number // (size or _BLOCK))


def _gram(matrix: Any, advance: Advance) -> Floats:
    """Return M'M in Fortran order, filled by blocks so that no sparse copy of it is ever whole."""
    size = matrix.shape[1]
    gram = np.zeros((size, size), order="F")
    columns, rows = matrix.tocsc(), matrix.T.tocsr()
    for begin in range(0, size, _BLOCK):
        gram[:, begin : begin + _BLOCK] = (rows @ columns[:, begin : begin + _BLOCK]).toarray()
        advance()
    return gram


def _inverse(gram: Floats, l2: float, advance: Advance) -> Floats:
    """Return the inverse of gram + l2 I, of which only the lower half is right; ``gram`` is overwritten."""
    from scipy.linalg import lapack

    gram[np.diag_indices_from(gram)] += l2
    factor, failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
    assert not failed, "M'M + l2 I is positive definite for l2 > 0"
    inverse, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    assert not failed, "the Cholesky factor has no zero on its diagonal"
    advance(_blocks(len(gram)))
    result: Floats = inverse
    return result


def _from_items(inverse: Floats, advance: Advance) -> Weights:
    weights = np.empty(inverse.shape, np.float32)
    diagonal = np.diagonal(inverse).copy()
    for begin in range(0, len(inverse), _BLOCK):
        rows, below = slice(begin, begin + _BLOCK), slice(begin + _BLOCK, None)
        square = np.tril(inverse[rows, rows])
        weights[rows, rows] = (square + np.tril(square, -1).T) / -diagonal[rows]
        weights[below, rows] = inverse[below, rows] / -diagonal[rows]
        weights[rows, below] = inverse[below, rows].T / -diagonal[below]
        advance()
    np.fill_diagonal(weights, 0.0)
    return weights


def _from_users(history: Any, inverse: Floats, advance: Advance) -> Weights:
    for begin in range(0, len(inverse), _BLOCK):
        rows, beyond = slice(begin, begin + _BLOCK), slice(begin + _BLOCK, None)
        inverse[rows, rows] = np.tril(inverse[rows, rows]) + np.tril(inverse[rows, rows], -1).T
        inverse[rows, beyond] = inverse[beyond, rows].T
    of_item = history.T.tocsr()
    of_item.sort_indices()  # sums run in one order: items alike in training get weights alike
    weights = np.empty((len(of_item.indptr) - 1,) * 2, np.float32)
    for begin in range(0, len(weights), _NARROW):
        block = of_item[begin : begin + _NARROW] @ inverse.T  # symmetric, and in the order in which rows are added up
        shared = of_item @ np.ascontiguousarray(block.T)
        shared /= 1.0 - shared[begin + np.arange(len(block)), np.arange(len(block))]
        weights[:, begin : begin + len(block)] = shared
        advance()
    np.fill_diagonal(weights, 0.0)
    return weights
