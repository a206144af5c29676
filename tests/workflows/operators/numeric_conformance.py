"""The conformance suite for columns of numbers: every element type at once, up to the ends of its range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl
from hypothesis import strategies as st
from operator_conformance import FLOAT32, FLOAT64, OperatorConformance

from workflows.compiler.plan.types import ColumnType
from workflows.compiler.quiet import quiet_nvtabular

INTEGERS: Final = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS: Final = ("float32", "float64")
NUMBERS: Final = INTEGERS + FLOATS
SPECIAL: Final = (0.0, -0.0, 1.0, -1.0, 2.5, float("inf"), float("-inf"), float("nan"), 2.0**-149, 2.0**127)


def of(dtype: str) -> st.SearchStrategy[Any]:
    """Return values of a type, its ends and what is special more often than chance has it; floats may be missing."""
    if dtype in FLOATS:
        return st.one_of(st.sampled_from(SPECIAL), FLOAT32 if dtype == "float32" else FLOAT64, st.none())
    if dtype == "bool":
        return st.booleans()
    ends = np.iinfo(dtype)
    return st.one_of(st.sampled_from([int(ends.min), 0, 1, 3, int(ends.max)]), st.integers(int(ends.min), int(ends.max)))


def table(columns: Mapping[str, list[Any]]) -> pl.DataFrame:
    """Return a table whose columns are named for their types, ``many`` and such before them: ``many int8`` holds lists."""
    kinds = {name: ColumnType(name.split()[-1], is_list=name.startswith("many")) for name in columns}
    return pl.DataFrame(columns, schema={name: kind.polars for name, kind in kinds.items()}, strict=False)


def numbers(values: list[Any], dtypes: tuple[str, ...] = NUMBERS) -> pl.DataFrame:
    """Return a table with the same values in a column of each type."""
    return table({dtype: [bool(value) if dtype == "bool" else value for value in values] for dtype in dtypes})


def between(raw: pl.DataFrame, low: int, high: int) -> bool:
    """Whether all integers of a table lie from ``low`` to ``high``."""
    integers = raw.select(pl.selectors.integer())
    return all(low <= value <= high for series in integers.get_columns() for value in series.drop_nulls())


class NumericConformance(OperatorConformance):
    """What an operator on numbers must satisfy: ``training`` has columns named for their types, as ``table`` makes them."""

    training: ClassVar[pl.DataFrame] = numbers([3, 1, 3, 100, 0, 2])

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        """Tables without nulls but in floats, which NVTabular takes too, and tables with them."""

        def tables(nulls: bool) -> st.SearchStrategy[pl.DataFrame]:
            row = st.tuples(*[self._cell(name, nulls) for name in self.training.columns])
            schema = self.training.schema
            return st.lists(row, max_size=6).map(lambda rows: pl.DataFrame(rows, schema=schema, orient="row"))

        return st.one_of(tables(nulls=False), tables(nulls=True))

    @staticmethod
    def _cell(name: str, nulls: bool) -> st.SearchStrategy[Any]:
        element = of(name.split()[-1])
        element = st.one_of(element, st.none()) if nulls else element
        return st.lists(element, max_size=3) if name.startswith("many") else element

    def test_the_types_are_those_of_nvtabular(self, compiled: Any) -> None:
        workflow, plan, _ = compiled
        with quiet_nvtabular():
            encoded = workflow.transform(self.training.to_pandas())
        scalars = [name for name in plan if not plan.type(name).is_list]
        assert {name: str(encoded[name].dtype) for name in scalars} == {name: plan.type(name).dtype for name in scalars}


def each(names: list[str], make: Any) -> Any:
    """Return the graph in which each column has an operator of its own: what one learns may depend on the columns beside it."""
    first, *rest = [[name] >> make() for name in names]
    return sum(rest, first)
