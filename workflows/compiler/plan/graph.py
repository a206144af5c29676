"""The plan itself: one node a column operation, in an order in which each comes after what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.operators.row_number import RowNumber
from workflows.compiler.operators.step import RowStep, Step
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class Node:
    """A column somewhere in the plan.

    Attributes:
        name: the name that it has in the workflow, for people.
        type: its type.
        step: what makes it; None for a raw column, and for one that is carried through a filter.
        inputs: places of the nodes that it is made from; none for a raw column.
        rows: which rows it has: 0 all that came in, k what the k-th filter left.
    """

    name: str
    type: ColumnType
    step: Step | None
    inputs: tuple[int, ...]
    rows: int = 0

    @property
    def is_raw(self) -> bool:
        """Whether it comes in from outside."""
        return self.step is None and not self.inputs

    @property
    def is_row_number(self) -> bool:
        """Whether it numbers the rows, which no column is needed for."""
        return isinstance(self.step, RowNumber)


@dataclass(frozen=True)
class RowFilter:
    """A place where rows are dropped.

    Attributes:
        step: which rows stay.
        inputs: name -> place of the columns that decide.
        rows: the rows that it is applied to, as in ``Node.rows``.
    """

    step: RowStep
    inputs: Mapping[str, int]
    rows: int


@dataclass(frozen=True)
class Plan:
    """A fitted workflow as a typed graph without any NVTabular object in it.

    Attributes:
        nodes: in an order in which inputs come first.
        filters: in the order of ``Node.rows``, the first of which is 1.
        outputs: encoded column -> place of its node, in the workflow's order.
    """

    nodes: tuple[Node, ...]
    filters: tuple[RowFilter, ...]
    outputs: Mapping[str, int]

    def __contains__(self, column: str) -> bool:
        """Whether the workflow makes ``column``."""
        return column in self.outputs

    def __iter__(self) -> Iterator[str]:
        """Iterate over the encoded columns."""
        return iter(self.outputs)

    @property
    def raw(self) -> dict[str, ColumnType]:
        """The raw columns that come in, with their types."""
        return {node.name: node.type for node in self.nodes if node.is_raw}

    def type(self, column: str) -> ColumnType:
        """Return the type of an encoded column."""
        return self.nodes[self.place(column)].type

    def place(self, column: str) -> int:
        """Return the place of the node of an encoded column.

        Raises:
            NotCompilableError: if the workflow makes no such column.
        """
        if column not in self.outputs:
            raise NotCompilableError(
                f"The workflow makes no column {column!r}; it makes {sorted(self.outputs)}.", "Ask for those columns."
            )
        return self.outputs[column]

    def needed(self, places: Iterable[int]) -> list[int]:
        """Return the places of the nodes that those at ``places`` are made from, themselves included, in order."""
        wanted: set[int] = set()
        waiting = list(places)
        while waiting:
            place = waiting.pop()
            if place in wanted:
                continue
            wanted.add(place)
            waiting += self.nodes[place].inputs
            if self.nodes[place].rows:
                waiting += self.filters[self.nodes[place].rows - 1].inputs.values()
        return sorted(wanted)

    def steps(self, column: str) -> tuple[Step, ...]:
        """Return the steps on the way to an encoded column, in order."""
        steps = [self.nodes[place].step for place in self.needed([self.place(column)])]
        return tuple(step for step in steps if step is not None)

    def sources(self, column: str) -> tuple[str, ...]:
        """Return the raw columns that an encoded column is made from."""
        nodes = [self.nodes[place] for place in self.needed([self.place(column)])]
        return tuple(node.name for node in nodes if node.is_raw)
