"""Which retrievers brought a candidate: those without whose say it would not be one.

The retrieval score is a sum of parts: the dot product of the retrieval model, those of factor models, popularity, and what the neighbours
of the recent items add. A part says of a candidate how far it lifts it above the candidates on average. It brought the candidate if less
that the candidate would score below the last of them; where no part alone is missed so, it is the part that lifts it most.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from serving.pieces.common import INFINITY, cast
from serving.pieces.neighbours import ItemBases
from workflows.compiler.onnx_graph import GraphBuilder

OWN: Final = "two_tower"
POPULARITY: Final = "popularity"
NEIGHBOURS: Final = "item_to_item"


@dataclass(frozen=True)
class Parts:
    """The parts of a retrieval score.

    Attributes:
        vector: query vectors, those of all dot products one behind the other, [B, D].
        vectors: item vectors likewise, [N, D]; rows behind them are not read.
        widths: how many numbers each dot product has, D in all.
        bases: what popularity adds.
        has_tables: whether neighbours of recent items add something.
    """

    vector: str
    vectors: npt.NDArray[np.float32]
    widths: Sequence[int]
    bases: ItemBases | None
    has_tables: bool


def brought_by(graph: GraphBuilder, parts: Parts, items: str, scores: str) -> str:
    """Return a bit for each part that brought a candidate, int64 [B, C]; 0 where there is no candidate.

    The bits are those of the dot products in their order, of popularity, and of neighbours.

    Args:
        graph: where to.
        parts: of the scores.
        items: catalogue indices, int64 [B, C].
        scores: retrieval scores, float32 [B, C], -inf where there is no candidate.
    """
    zero, last = graph.constant(0, np.float32), graph.constant([2], np.int64)
    real = graph.add("Greater", scores, graph.constant(-INFINITY, np.float32))
    known = graph.add("Where", real, scores, zero)
    places = graph.add("Min", items, graph.constant(len(parts.vectors) - 1, np.int64))
    said = _said(graph, parts, places, known)
    count = len(parts.widths) + (parts.bases is not None) + parts.has_tables
    held = cast(graph, graph.add("Unsqueeze", real, last), onnx.TensorProto.FLOAT)
    rows = graph.constant([1], np.int64)
    many = graph.add("Max", graph.add("ReduceSum", held, rows, keepdims=1), graph.constant(1, np.float32))
    mean = graph.add("Div", graph.add("ReduceSum", graph.add("Mul", said, held), rows, keepdims=1), many)
    lift = graph.add("Sub", said, mean)
    least = graph.add("ReduceMin", graph.add("Where", real, scores, graph.constant(INFINITY)), axes=[1], keepdims=1)
    without = graph.add("Sub", graph.add("Unsqueeze", known, last), lift)
    missed = graph.add("Less", without, graph.add("Unsqueeze", least, last))
    most = graph.add("Equal", lift, graph.add("ReduceMax", lift, axes=[2], keepdims=1))
    bits = graph.constant((1 << np.arange(count, dtype=np.int64)).reshape(1, 1, -1))
    without_it, at_most = (
        graph.add("ReduceSum", graph.add("Mul", cast(graph, each, onnx.TensorProto.INT64), bits), last, keepdims=0)
        for each in (missed, most)
    )
    nothing = graph.constant(0, np.int64)
    mask = graph.add("Where", graph.add("Greater", without_it, nothing), without_it, at_most)
    return graph.add("Where", real, mask, nothing)


def _said(graph: GraphBuilder, parts: Parts, places: str, known: str) -> str:
    """Return what each part says of each candidate, float32 [B, C, P]."""
    last, edges = graph.constant([2], np.int64), np.cumsum([0, *parts.widths])
    blocks = np.zeros((1, edges[-1], len(parts.widths)), np.float32)
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        blocks[0, start:stop, number] = 1
    query = graph.add("Mul", graph.add("Unsqueeze", parts.vector, last), graph.constant(blocks))
    said = [graph.add("MatMul", graph.add("Gather", graph.constant(parts.vectors), places, axis=0), query)]
    if parts.bases is not None:
        both = graph.add("Gather", graph.constant(np.ascontiguousarray(parts.bases.values.T)), places, axis=0)
        chosen = graph.add("Gather", graph.constant(np.eye(2, dtype=np.float32).reshape(2, 1, 2)), parts.bases.row, axis=0)
        said.append(graph.add("ReduceSum", graph.add("Mul", both, chosen), last, keepdims=1))
    if parts.has_tables:
        dense = graph.add("Concat", *said, axis=2) if len(said) > 1 else said[0]
        rest = graph.add("Sub", known, graph.add("ReduceSum", dense, last, keepdims=0))
        said.append(graph.add("Unsqueeze", rest, last))
    return graph.add("Concat", *said, axis=2) if len(said) > 1 else said[0]
