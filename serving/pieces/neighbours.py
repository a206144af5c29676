"""What popularity and the neighbours of the recent items add to retrieval scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from serving.pieces.common import cast
from serving.pieces.state import NeighbourTable
from workflows.compiler.onnx_graph import GraphBuilder


@dataclass(frozen=True)
class ItemBases:
    """What is added to the score of every item, one of two sets for each query.

    Attributes:
        values: float32 [2, N].
        row: the set of each query, int64 [B], 0 or 1.
    """

    values: npt.NDArray[np.float32]
    row: str

    def of(self, graph: GraphBuilder, columns: int) -> str:
        """Return float32 [B, columns], 0 behind the items."""
        padded = np.pad(self.values, ((0, 0), (0, columns - self.values.shape[1])))
        return graph.add("Gather", graph.constant(padded), self.row, axis=0)


def ages(graph: GraphBuilder, recent: str, recents: int) -> str:
    """Return int64 [B, L], how many steps each recent item lies back from the last; ``recent`` is as in ``Additions``."""
    zero = graph.constant(0, np.int64)
    held = cast(graph, graph.add("GreaterOrEqual", recent, zero), onnx.TensorProto.INT64)
    count = graph.add("ReduceSum", held, graph.constant([1], np.int64), keepdims=1)
    steps = graph.add("Sub", count, graph.constant(np.arange(1, recents + 1).reshape(1, -1), np.int64))
    return graph.add("Max", steps, zero)


class Additions:
    """The additions of each query, one for each neighbour of each recent item in each table, an item of the catalogue at several places.

    Args:
        graph: where to.
        tables: the tables, at least one.
        recent: int64 [B, L], catalogue indices of the recent items, oldest first; N for an unknown item, -1 behind the last.
        recents: L.
    """

    def __init__(self, graph: GraphBuilder, tables: Sequence[NeighbourTable], recent: str, recents: int) -> None:
        self.places = recents * sum(table.columns.shape[1] for table in tables)
        """M, places of all tables."""
        age = ages(graph, recent, recents)
        parts = [self._of_table(graph, table, recent, age, recents) for table in tables]
        items, values = zip(*parts, strict=True)
        self.items = graph.add("Concat", *items, axis=1) if len(parts) > 1 else items[0]
        """int64 [B, M], catalogue indices; N where there is no neighbour."""
        self.values = graph.add("Concat", *values, axis=1) if len(parts) > 1 else values[0]
        """float32 [B, M]"""

    @staticmethod
    def _of_table(graph: GraphBuilder, table: NeighbourTable, recent: str, age: str, recents: int) -> tuple[str, str]:
        share = graph.add("Gather", graph.constant(table.shares), age, axis=0)
        additions = graph.add("Gather", graph.constant(table.additions), recent, axis=0)
        weighted = graph.add("Mul", additions, graph.add("Unsqueeze", share, graph.constant([2], np.int64)))
        flat = graph.constant([0, recents * table.columns.shape[1]], np.int64)
        items = graph.add("Gather", graph.constant(table.columns), recent, axis=0)
        return graph.add("Reshape", items, flat), graph.add("Reshape", weighted, flat)

    def to(self, graph: GraphBuilder, scores: str) -> str:
        """Return ``scores`` [B, columns], more columns than items, with the additions."""
        return graph.add("ScatterElements", scores, self.items, self.values, axis=1, reduction="add")

    def first_mentions(self, graph: GraphBuilder, columns: int, batch: str) -> str:
        """Return bool [B, M]: true at one place of each item, wherever else it is mentioned.

        Args:
            graph: where to.
            columns: more than there are items.
            batch: B, int64 [1].
        """
        place = graph.add(
            "Expand",
            graph.constant(np.arange(self.places, dtype=np.int32).reshape(1, -1)),
            graph.add("Concat", batch, graph.constant([1], np.int64), axis=0),
        )
        # Whichever place is written last stays, and no other.
        empty = graph.add(
            "Expand", graph.constant(np.int32(-1)), graph.add("Concat", batch, graph.constant([columns], np.int64), axis=0)
        )
        written = graph.add("ScatterElements", empty, self.items, place, axis=1)
        return graph.add("Equal", graph.add("GatherElements", written, self.items, axis=1), place)
