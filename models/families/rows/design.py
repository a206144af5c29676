"""Design matrix: encoded columns as one numeric matrix, in NumPy and in ONNX.

Numbers and vectors stand as they are; an id becomes one column a level, 1 where it is that level; of a list each level holds its share of
the list's values. Levels are the ids that enough training rows hold, the most frequent where there are many; other ids are all zeros.
A missing number (NaN) stays missing, or is 0 with a column beside it that is 1, for models that read no missing ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from models.families.family import Floats
from models.training.tables import OOV_ID, PADDING_ID, Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import CONTINUOUS, LISTS, Column, Kind

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """The columns of the matrix that one column becomes.

    Attributes:
        column: the column.
        levels: ids that have a column of their own, ascending; empty of numbers and vectors.
        filled: whether missing numbers become 0.
        flagged: whether another column, after the number, is 1 where the number is missing.
    """

    column: Column
    levels: tuple[int, ...] = ()
    filled: bool = False
    flagged: bool = False

    @property
    def width(self) -> int:
        """How many columns of the matrix there are."""
        if self.column.kind in CONTINUOUS:
            return 1 + self.flagged
        return self.column.width if self.column.kind is Kind.VECTOR else len(self.levels)

    def matrix(self, values: npt.NDArray[Any]) -> Matrix:
        """Return [n, width] float32 of the encoded values."""
        if self.column.kind in CONTINUOUS or self.column.kind is Kind.VECTOR:
            found = values.reshape(len(values), -1 if len(values) else self.width - self.flagged).astype(np.float32)
            if not self.filled:
                return found
            missing = np.isnan(found)
            found[missing] = 0.0
            return np.concatenate([found, missing.astype(np.float32)], axis=1) if self.flagged else found
        if self.column.kind not in LISTS:
            return np.equal(values.reshape(-1, 1), np.asarray(self.levels)).astype(np.float32)
        count = np.maximum(1, (values != PADDING_ID).sum(axis=1)).astype(np.float32)
        return np.stack([(values == level).sum(axis=1).astype(np.float32) / count for level in self.levels], axis=1)

    def add(self, graph: GraphBuilder, value: str) -> str:
        """Add ``matrix`` of the input ``value`` to a graph; float32 ``[B, width]``."""
        if self.column.kind in CONTINUOUS or self.column.kind is Kind.VECTOR:
            if not self.filled:
                return value
            missing = graph.add("IsNaN", value)
            found = graph.add("Where", missing, graph.constant(0.0, np.float32), value)
            return graph.add("Concat", found, graph.add("Cast", missing, to=TensorProto.FLOAT), axis=1) if self.flagged else found
        if self.column.kind not in LISTS:
            same = graph.add("Equal", value, graph.constant([self.levels], np.int64))
            return graph.add("Cast", same, to=TensorProto.FLOAT)
        apart = graph.add("Unsqueeze", value, graph.constant([2], np.int64))
        same = graph.add("Equal", apart, graph.constant([[self.levels]], np.int64))
        axis = graph.constant([1], np.int64)
        held = graph.add("ReduceSum", graph.add("Cast", same, to=TensorProto.FLOAT), axis, keepdims=0)
        real = graph.add("Cast", graph.add("Greater", value, graph.constant(PADDING_ID, np.int64)), to=TensorProto.FLOAT)
        count = graph.add("Max", graph.add("ReduceSum", real, axis, keepdims=1), graph.constant(1.0, np.float32))
        return graph.add("Div", held, count)


@dataclass(frozen=True)
class Design:
    """How a table becomes a matrix.

    Attributes:
        blocks: one a column, in their order.
    """

    blocks: tuple[Block, ...]

    @staticmethod
    def of(columns: Sequence[Column], train: Table, max_levels: int, min_rows: int, *, filled: bool = False) -> Design:
        """Choose the levels on training rows.

        Args:
            columns: what to read.
            train: the rows.
            max_levels: most levels of a column.
            min_rows: training rows that must hold a level.
            filled: whether missing numbers become 0, with a flag for each column that misses one in training.
        """

        def block(column: Column) -> Block:
            values = train[column.name]
            if column.kind in CONTINUOUS or column.kind is Kind.VECTOR:
                return Block(column, (), filled, filled and column.kind in CONTINUOUS and bool(np.isnan(values).any()))
            return Block(column, _levels(values, max_levels, min_rows))

        return Design(tuple(block(each) for each in columns))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that are read."""
        return tuple(block.column for block in self.blocks)

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return sum(block.width for block in self.blocks)

    def numbers(self) -> npt.NDArray[np.bool_]:
        """Return [width] whether a column of the matrix is a number, rather than a level or a flag."""
        parts = [
            np.arange(each.width) < each.width - each.flagged if not each.levels else np.zeros(each.width, bool)
            for each in self.blocks
        ]
        return np.concatenate(parts)

    def matrix(self, table: Table) -> Matrix:
        """Return [n, width] float32."""
        return np.concatenate([block.matrix(table[block.column.name]) for block in self.blocks], axis=1)

    def by_column(self, parts: Floats) -> Floats:
        """Sum [n, width] over the columns of each block: [n, blocks]."""
        starts = np.cumsum([0, *(block.width for block in self.blocks)])[:-1]
        return np.asarray(np.add.reduceat(parts, starts, axis=1), np.float64)

    def add(self, graph: GraphBuilder) -> str:
        """Declare the inputs and add the matrix to a graph; float32 ``[B, width]``."""
        inputs = declare_inputs(graph, self.columns)
        return graph.add("Concat", *(block.add(graph, inputs[block.column.name]) for block in self.blocks), axis=1)

    def content(self) -> list[dict[str, Any]]:
        """Return the design as JSON values."""
        return [
            {
                "column": block.column.to_json(),
                "levels": list(block.levels),
                "filled": block.filled,
                "flagged": block.flagged,
            }
            for block in self.blocks
        ]

    @staticmethod
    def from_content(content: Sequence[Mapping[str, Any]]) -> Design:
        """Return the design that ``content`` described."""
        return Design(
            tuple(
                Block(
                    Column.from_json(each["column"]), tuple(each["levels"]), bool(each.get("filled")), bool(each.get("flagged"))
                )
                for each in content
            )
        )


def declare_inputs(graph: GraphBuilder, columns: Sequence[Column]) -> dict[str, str]:
    """Declare one input a column, as ``Fitted.onnx`` has them; return column -> value."""
    inputs = {}
    for column in columns:
        if column.kind in CONTINUOUS:
            inputs[column.name] = graph.input(column.name, "float32", ["batch", 1])
        elif column.kind is Kind.VECTOR:
            inputs[column.name] = graph.input(column.name, "float32", ["batch", column.width])
        else:
            width = f"{column.name}_length" if column.kind in LISTS else 1
            inputs[column.name] = graph.input(column.name, "int64", ["batch", width])
    return inputs


def _levels(values: npt.NDArray[Any], most: int, min_rows: int) -> tuple[int, ...]:
    """Return the ids, padding left out, that most rows hold; where none is held often enough, the id of unknown values."""
    rows = np.broadcast_to(np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1)), values.shape)
    pairs = np.unique(np.stack([rows.ravel(), values.ravel()]), axis=1) if values.ndim > 1 else values[None]
    ids, counts = np.unique(pairs[-1], return_counts=True)
    kept = (ids != PADDING_ID) & (counts >= min_rows)
    ids, counts = ids[kept], counts[kept]
    first = np.lexsort((ids, -counts))[:most]
    return tuple(int(each) for each in np.sort(ids[first])) or (OOV_ID,)
