"""The best of many scores, exactly, at a cost that does not depend on their order.

ONNX Runtime's ``TopK`` keeps a heap: over 100,000 scores it takes 0.1 ms where they lie at random, but 16 ms where they ascend, as
they tend to in a catalogue whose newest items come last. The best ``k`` of all lie within the ``k`` blocks of the greatest
maxima, so two levels see each score once and put few of them on the heap.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from serving.pieces.common import INFINITY, size
from workflows.compiler.onnx_graph import GraphBuilder

BLOCK: Final = 100
"""Scores in a block."""


def score_columns(items: int, kept: int, block: int = BLOCK) -> int:
    """Return how many columns of scores ``barred`` and ``best`` want for ``items`` items: at least one more than there are."""
    blocks = items // block + 1
    return blocks * block if blocks > kept else items + 1


def barred(
    graph: GraphBuilder, scores: str, indices: str, items: int, columns: int, lowest: np.float32 | np.int32 = -INFINITY
) -> str:
    """Set scores to the lowest there are.

    Args:
        graph: where to.
        scores: [B, columns].
        indices: int64 [B, X], what must not be answered: item indices, ``items`` for an unknown item, -1 for none.
        items: number of items; the columns after them are always barred.
        columns: from ``score_columns``.
        lowest: of the type of ``scores``.
    """
    rows = graph.add("Concat", size(graph, indices, 0), graph.constant([1], np.int64), axis=0)
    spare = graph.add("Expand", graph.constant(np.arange(items, columns).reshape(1, -1), np.int64), rows)
    every = graph.add("Concat", spare, indices, axis=1)
    filler = graph.add("Expand", graph.constant(lowest), graph.add("Shape", every))
    return graph.add("ScatterElements", scores, every, filler, axis=1)


def best(graph: GraphBuilder, scores: str, kept: int, columns: int, block: int = BLOCK) -> tuple[str, str]:
    """Return the ``kept`` best scores of each row, descending, and their columns: as ``scores`` and int64 [B, kept].

    Args:
        graph: where to.
        scores: float32 or int32 [B, columns].
        kept: how many, at most ``columns``.
        columns: from ``score_columns``.
        block: scores in a block.
    """
    count = graph.constant([kept], np.int64)
    if columns % block or columns // block <= kept:
        values, index = graph.add_many("TopK", 2, scores, count, axis=1)
        return values, index
    blocks = graph.add("Reshape", scores, graph.constant([0, columns // block, block], np.int64))
    greatest = graph.add("ReduceMax", blocks, axes=[2], keepdims=0)
    _, chosen = graph.add_many("TopK", 2, greatest, count, axis=1)
    first = graph.add("Unsqueeze", graph.add("Mul", chosen, graph.constant(block, np.int64)), graph.constant([2], np.int64))
    members = graph.add("Add", first, graph.constant(np.arange(block).reshape(1, 1, -1), np.int64))
    index = graph.add("Reshape", members, graph.constant([0, kept * block], np.int64))
    values, place = graph.add_many("TopK", 2, graph.add("GatherElements", scores, index, axis=1), count, axis=1)
    return values, graph.add("GatherElements", index, place, axis=1)
