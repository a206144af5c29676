"""How candidates stand in their own lists, as ``models.retrieval.ranker.features`` defines it: columns of the candidate ranker.

What tables of neighbours give is looked up for the candidates alone: every neighbour of every recent item finds the place of its item
among the candidates in one array as long as the catalogue, and is added there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from serving.pieces.common import INFINITY, cast, size
from serving.pieces.neighbours import ages
from workflows.compiler.onnx_graph import GraphBuilder

_TINY = np.float32(1e-6)
_EVEN = np.float32(0.01)


@dataclass(frozen=True)
class RankerTable:
    """A table of neighbours that the ranker reads.

    Attributes:
        columns: int32 [N + 1, K], catalogue indices; N where there is no neighbour. The last row is the unknown item's.
        additions: float32 [N + 1, K], above 0; 0 where there is no neighbour.
        shares: column of the ranker -> float32 [L], how much a recent item counts, by the steps back from the end.
    """

    columns: npt.NDArray[np.int32]
    additions: npt.NDArray[np.float32]
    shares: Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Ranker:
    """A candidate ranker.

    Attributes:
        trees: from its columns, float32 [rows, 1] each, to ``score``.
        weight: of its score.
        tables: the tables that it reads.
        named: name of the column that counts tables.
        counted: columns of tables that are counted where above 0.
        spreads: column -> the encoded column of items that it holds in spreads.
    """

    trees: onnx.ModelProto
    weight: float
    tables: tuple[RankerTable, ...]
    named: str
    counted: tuple[str, ...]
    spreads: Mapping[str, str]


class ListColumns:
    """Columns of candidates, each [B, C].

    Args:
        graph: where to.
        items: catalogue indices of the candidates, int64 [B, C].
        scores: retrieval scores, float32 [B, C], -inf where there is no candidate.
        width: C.
    """

    def __init__(self, graph: GraphBuilder, items: str, scores: str, width: int) -> None:
        self._graph, self._items, self._width = graph, items, width
        self._zero, self._axis = graph.constant(0, np.float32), graph.constant([1], np.int64)
        self._real = graph.add("Greater", scores, graph.constant(-INFINITY, np.float32))
        self._held = cast(graph, self._real, onnx.TensorProto.FLOAT)
        count = graph.add("ReduceSum", self._held, self._axis, keepdims=1)
        self._count = graph.add("Max", count, graph.constant(1, np.float32))

    def in_spreads(self, values: str) -> str:
        """Return ``values`` [B, C] less the mean of the real candidates', in their standard deviations."""
        graph = self._graph
        held = self._or_zero(values)
        off = self._or_zero(graph.add("Sub", held, graph.add("Div", self._sum(held), self._count)))
        spread = graph.add("Sqrt", graph.add("Div", self._sum(graph.add("Mul", off, off)), self._count))
        return graph.add("Div", off, graph.add("Add", spread, graph.constant(_EVEN, np.float32)))

    def of_tables(self, tables: Sequence[RankerTable], recent: str, recents: int) -> dict[str, str]:
        """Return what tables give, each as a share of what it gives the best.

        Args:
            tables: the tables.
            recent: int64 [B, L], catalogue indices of the recent items, oldest first; N for an unknown item, -1 behind the last.
            recents: L.
        """
        if not tables:
            return {}
        graph, items = self._graph, len(tables[0].columns) - 1
        batch = size(graph, self._items, 0)
        places = self._places(batch, items)
        age = ages(graph, recent, recents)
        shape = graph.add("Concat", batch, graph.constant([self._width + 1], np.int64), axis=0)
        empty = graph.add("Expand", self._zero, shape)
        found: dict[str, str] = {}
        for table in tables:
            flat = graph.constant([0, recents * table.columns.shape[1]], np.int64)
            neighbours = graph.add("Reshape", graph.add("Gather", graph.constant(table.columns), recent, axis=0), flat)
            slots = graph.add("GatherElements", places, neighbours, axis=1)
            additions = graph.add("Gather", graph.constant(table.additions), recent, axis=0)
            for name, shares in table.shares.items():
                share = graph.add(
                    "Unsqueeze", graph.add("Gather", graph.constant(shares), age, axis=0), graph.constant([2], np.int64)
                )
                given = graph.add("Reshape", graph.add("Mul", additions, share), flat)
                found[name] = self._shares_of_best(graph.add("ScatterElements", empty, slots, given, axis=1, reduction="add"))
        return found

    def counted(self, columns: Sequence[str]) -> str:
        """Return how many of ``columns`` are above 0."""
        graph = self._graph
        above = [cast(graph, graph.add("Greater", column, self._zero), onnx.TensorProto.FLOAT) for column in columns]
        return graph.add("Sum", *above) if above else graph.add("Mul", self._held, self._zero)

    def _places(self, batch: str, items: int) -> str:
        """Return int32 [B, N + 1], the place of each item among the candidates, C where it is none."""
        graph = self._graph
        shape = graph.add("Concat", batch, graph.constant([items + 1], np.int64), axis=0)
        none = graph.add("Expand", graph.constant(self._width, np.int32), shape)
        own = graph.add(
            "Expand", graph.constant(np.arange(self._width, dtype=np.int32).reshape(1, -1)), graph.add("Shape", self._items)
        )
        where = graph.add("Min", self._items, graph.constant(items, np.int64))
        return graph.add("ScatterElements", none, where, own, axis=1)

    def _shares_of_best(self, given: str) -> str:
        graph = self._graph
        start, stop = graph.constant([0], np.int64), graph.constant([self._width], np.int64)
        own = self._or_zero(graph.add("Slice", given, start, stop, self._axis))
        best = graph.add("ReduceMax", own, axes=[1], keepdims=1)
        return graph.add("Div", own, graph.add("Max", best, graph.constant(_TINY, np.float32)))

    def _or_zero(self, values: str) -> str:
        return self._graph.add("Where", self._real, values, self._zero)

    def _sum(self, values: str) -> str:
        return self._graph.add("ReduceSum", values, self._axis, keepdims=1)
