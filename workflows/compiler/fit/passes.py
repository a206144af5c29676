"""One pass over the events, in batches of one size and in order, so that the same events give the same bits whatever the machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import polars as pl

from cartwheel.core.progress import Advance
from workflows.compiler.fit.sums import Sums
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Plan
from workflows.compiler.plan.types import ColumnType

BATCH_ROWS: Final = 1 << 18
_COUNTED_ROWS: Final = 1 << 21


class Accumulator(ABC):
    """A statistic that is gathered batch by batch.

    Attributes:
        columns: the columns that it reads, by their names in ``Inputs``; all from the same rows.
    """

    columns: tuple[str, ...]

    @abstractmethod
    def take(self, batch: pl.DataFrame) -> None:
        """Take in the next rows; missing values are null, NaN is nowhere."""

    def again(self) -> bool:
        """Say, at the end of a pass, whether another one is needed."""
        return False


class Inputs:
    """The columns that operators are fitted on, as the operators before them make them.

    Args:
        plan: the plan of those columns.
        events: the raw events.
        engine: what Polars' ``collect`` takes as its engine, for what may come in any order.
    """

    def __init__(self, plan: Plan, events: pl.LazyFrame, engine: Any = "streaming") -> None:
        self._plan = plan
        self._events = events
        self._engine = engine

    def type(self, column: str) -> ColumnType:
        """Return the type of a column."""
        return self._plan.type(column)

    def rows(self, column: str) -> int:
        """Return which rows a column has, as in ``Node.rows``: columns of the same rows can be read side by side."""
        return self._plan.nodes[self._plan.place(column)].rows

    def frame(self, columns: Sequence[str]) -> pl.LazyFrame:
        """Return columns, all of the same rows, lazily."""
        return compile_polars(self._plan, self._events, columns)

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """Run a query whose answer does not depend on the order of rows."""
        return query.collect(engine=self._engine)

    def count(self, columns: Sequence[str], count: str) -> pl.DataFrame:
        """Count how often each value of a column, or combination of values of several, occurs.

        Args:
            columns: all of the same rows; of a column of lists, which must be by itself, elements are counted.
            count: what to call the count.

        Returns:
            Each value once, in any order, and its count, int64.
        """
        frame = self.frame(columns)
        if self.type(columns[0]).is_list:
            frame = frame.filter(pl.col(columns[0]).list.len() > 0).explode(columns[0], empty_as_null=False)
        frame = frame.with_columns(pl.lit(1, pl.Int64).alias(count))
        sums = Sums(columns, [count], self.collect)
        for batch in batches(frame, _COUNTED_ROWS):
            sums.add(batch)
        return sums.table()


def accumulate(inputs: Inputs, accumulators: Sequence[Accumulator], advance: Advance) -> None:
    """Feed accumulators, all of them together in each pass, until none needs another.

    Args:
        inputs: the columns.
        accumulators: what to feed.
        advance: called once a pass.
    """
    waiting = list(accumulators)
    while waiting:
        together: dict[int, list[Accumulator]] = defaultdict(list)
        for accumulator in waiting:
            together[inputs.rows(accumulator.columns[0])].append(accumulator)
        for group in together.values():
            columns = sorted({column for accumulator in group for column in accumulator.columns})
            for batch in batches(inputs.frame(columns), BATCH_ROWS):
                for accumulator in group:
                    accumulator.take(batch)
            advance(1, f"{len(group)} statistics")
        waiting = [accumulator for accumulator in waiting if accumulator.again()]


def batches(frame: pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    """Yield ``rows`` rows at a time in order; an empty batch first, which tells the types where there are no rows."""
    yield pl.DataFrame(schema=frame.collect_schema())
    yield from frame.collect_batches(chunk_size=rows, maintain_order=True, engine="streaming")
