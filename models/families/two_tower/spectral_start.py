"""Where the two-tower's item embeddings begin: at the leading eigenvectors of which items follow one another.

With A(i, j) how often j follows i within a few steps, nearer ones counting more, and D(i) the sum of row i of A + A', the vectors are
those of D^-1/2 (A + A') D^-1/2 with the greatest eigenvalues, times the roots of these. Their dot product is the best approximation of that
matrix of their length, so the first score of an item is that of a neighbourhood model with what is noise in it left out (a low-pass
filter on the graph of items: Shen et al., "How powerful is graph convolution for recommendation?", CIKM 2021,
https://doi.org/10.1145/3459637.3482264; a factorised co-occurrence matrix as embeddings: Levy and Goldberg, "Neural word embedding as
implicit matrix factorization", NeurIPS 2014). Random embeddings need epochs to learn as much, and on a short log never do.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.training.tables import FIRST_ID, PADDING_ID, Array, Table

STEPS: Final = 10
"""Recent items of an example that count as followed by its target."""
DECAY: Final = 0.8
"""How much less each step further back counts."""
PRIOR: Final = 5.0
"""Added to the D of each item, so that an item seen twice is not the nearest neighbour of all that it was seen with."""
MOST_ITEMS: Final = 200_000
"""Items of the greatest D that get a vector; the others begin at random. Bounds time and memory (some 200 MB)."""
HELD_BACK: Final = 0.3
"""Factor for the first weights of all that is not passed through."""
_KEPT_NOISE: Final = 0.1
"""Share of the random first embedding that stays, so that items of equal vectors can part."""
_DENSE: Final = 512
"""Up to so many items all eigenvectors are computed, which needs no iteration."""
_TOLERANCE: Final = 1e-4
"""Relative accuracy of the eigenvalues: a start need not be exact."""


def start_spectrally(tower: Any, train: Table) -> int:
    """Give a fresh two-tower its first item embeddings, and have both towers pass them through.

    Args:
        tower: ``models.two_tower.TwoTower`` with fresh weights.
        train: ``item_id`` and ``recent_items`` of the training examples.

    Returns:
        How many items have a vector; 0 where none follows another, and the weights are left as they are.
    """
    vectors = spectral_vectors(train, tower.sizes["item_id"], tower.settings.embedding_dimension)
    items = np.flatnonzero(vectors.any(axis=1))
    if not len(items):
        return 0
    (query_inputs, query_layers), (item_inputs, item_layers) = (each.layers[:2] for each in (tower.query, tower.item))
    table = item_inputs.tables["item_id"].table.embeddings
    first = table.numpy()
    scale = first[items].std() / vectors[items].std()
    first[items] = _KEPT_NOISE * first[items] + scale * vectors[items]
    table.assign(first)
    width = vectors.shape[1]
    query_layers.pass_through(query_inputs.begins("recent_items"), width, HELD_BACK)
    item_layers.pass_through(item_inputs.begins("item_id"), width, HELD_BACK)
    return len(items)


def spectral_vectors(train: Table, size: int, width: int) -> Array:
    """Return the vectors of the items, float32 ``[size, width]``, the greatest eigenvalue first; zeros for items without neighbours.

    Args:
        train: ``item_id`` ``[N]`` and ``recent_items`` ``[N, L]``, the most recent last, then padding.
        size: how many item ids there are.
        width: of the vectors; where there are fewer eigenvalues above 0, the last values are 0.
    """
    from scipy.sparse import diags

    pairs = _followed(train, size)
    pairs = (pairs + pairs.T).tocsr()
    degree = np.asarray(pairs.sum(axis=1)).ravel()
    kept = np.sort(np.argsort(-degree, kind="stable")[: min(MOST_ITEMS, np.count_nonzero(degree))])
    vectors = np.zeros((size, width), np.float32)
    if len(kept):
        root = diags(1.0 / np.sqrt(degree[kept] + PRIOR))
        values, found = leading(root @ pairs[kept][:, kept] @ root, width)
        vectors[kept, : len(values)] = found * np.sqrt(np.maximum(values, 0.0))
    return vectors


def _followed(train: Table, size: int) -> Any:
    """Return the ``scipy.sparse.csr_matrix`` ``[size, size]`` of how often the column's item follows the row's."""
    from scipy.sparse import csr_matrix

    recent, target = train["recent_items"].astype(np.int64), train["item_id"].astype(np.int64)
    held = np.count_nonzero(recent != PADDING_ID, axis=1)
    matrix = csr_matrix((size, size), dtype=np.float64)
    for age in range(min(STEPS, recent.shape[1])):
        rows = np.flatnonzero(held > age)
        before, after = recent[rows, held[rows] - 1 - age], target[rows]
        known = (before >= FIRST_ID) & (after >= FIRST_ID) & (before != after)
        weights = np.full(np.count_nonzero(known), DECAY**age)
        matrix = matrix + csr_matrix((weights, (before[known], after[known])), shape=(size, size))
    return matrix


def leading(matrix: Any, count: int, most_steps: int | None = None) -> tuple[Array, Array]:
    """Return the greatest eigenvalues of a symmetric matrix and their vectors, always the same ones with the same signs.

    Args:
        matrix: sparse ``[n, n]``.
        count: how many are wanted.
        most_steps: iterations after which those that are found so far are returned; None for the library's own limit.

    Returns:
        At most ``count`` eigenvalues, falling, and the vectors ``[n, that many]``.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh
    from threadpoolctl import threadpool_limits

    size = matrix.shape[0]
    with threadpool_limits(1, "blas"):  # sums in one order
        if size <= max(_DENSE, 2 * count):
            values, vectors = np.linalg.eigh(matrix.toarray())
        else:
            try:
                values, vectors = eigsh(matrix, count, which="LA", v0=np.ones(size), tol=_TOLERANCE, maxiter=most_steps)
            except ArpackNoConvergence as stopped:
                values, vectors = stopped.eigenvalues, stopped.eigenvectors
    order = np.argsort(-values, kind="stable")[:count]
    vectors = vectors[:, order]
    return values[order], vectors * np.where(vectors.sum(axis=0) < 0, -1.0, 1.0)
