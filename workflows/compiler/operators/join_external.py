"""``JoinExternal``: each row gets the values of the one row of a table, held by the workflow, that has its key.

Null is a key like any other, as in pandas. A column of integers stays one: where no row has the key it is null, not NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.operators.keys import Keys
from workflows.compiler.operators.pick import Pick
from workflows.compiler.operators.step import Applied, Made, RowStep
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.quiet import quiet_nvtabular


@dataclass(frozen=True)
class KeyIsThere(RowStep):
    """Keeps the rows whose key stands in the table: an inner join.

    Attributes:
        columns: the columns of the key.
        keys: the keys of the table.
    """

    columns: tuple[str, ...]
    keys: Keys

    def keeps(self, columns: Mapping[str, pl.Expr], types: Mapping[str, ColumnType]) -> pl.Expr:
        """Return whether the key has a place."""
        places = self.keys.polars([columns[name] for name in self.columns], [types[name] for name in self.columns])
        return places >= 0

    def inputs(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of the key.

        Raises:
            NotCompilableError: if one of them does not reach the operator.
        """
        if absent := [name for name in self.columns if name not in available]:
            raise NotCompilableError(
                f"JoinExternal joins on the columns {absent}, and {list(available)} reach it.",
                "Apply it to the columns that it joins on as well.",
            )
        return self.columns


def read_join_external(applied: Applied) -> Made:
    """Read NVTabular's ``JoinExternal``: a column that comes in, or one of the table's."""
    column = applied.column
    on, on_ext = _pairs(applied.operator)
    external = _external(applied.operator)
    _check_keys(applied.operator)  # whichever columns it makes: even one that only comes through would have its rows multiplied
    if column in applied.available:
        if column in external and (column, column) not in zip(on, on_ext, strict=True):
            raise applied.refuse(
                "makes it twice, of a column that comes in and of one of its table", "Rename one of the two, or use columns_ext."
            )
        return Made((), (column,))
    values = _polars(external, [column])[column].extend_constant(None, 1)
    try:
        steps = (_keys(applied.operator), Pick(column, values))
    except NotCompilableError as error:
        raise NotCompilableError(f"Feature column {column!r}: {error.found}", error.fix) from error
    return Made(steps, tuple(on))


def read_inner_join(operator: Any) -> RowStep | None:
    """Read which rows an inner ``JoinExternal`` drops; None for a left join, which drops none."""
    if operator.how != "inner":
        return None
    return KeyIsThere(tuple(_pairs(operator)[0]), _keys(operator))


def _pairs(operator: Any) -> tuple[list[str], list[str]]:
    on, on_ext = ([names] if isinstance(names, str) else list(names) for names in (operator.on, operator.on_ext))
    return on, on_ext


def _external(operator: Any) -> Any:
    """Return the table as a pandas frame: columns chosen and duplicates dropped by NVTabular itself."""
    try:
        with quiet_nvtabular():
            table = operator._ext
            table = table.compute() if hasattr(table, "compute") else table  # Dask, where it has several parts
    except OSError as error:
        raise RunError(
            f"JoinExternal: its table cannot be read ({error}).", "Put it back where it was when the workflow was fitted."
        ) from error
    return table.to_pandas() if hasattr(table, "to_pandas") else table  # cuDF


def _polars(external: Any, columns: list[str]) -> pl.DataFrame:
    try:
        return pl.from_pandas(external[columns])
    except KeyError as error:
        raise NotCompilableError(
            f"JoinExternal: its table has no columns {columns}; it has {list(external.columns)}.",
            "Name columns of the table, and let columns_ext have those of the key.",
        ) from error
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:  # PyArrow's errors are ValueErrors and TypeErrors
        raise NotCompilableError(
            f"JoinExternal: the columns {columns} of its table have no one type ({error}).",
            "Give each column of the table values of one type.",
        ) from error


def _keys(operator: Any) -> Keys:
    return Keys(tuple(_check_keys(operator).get_columns()))


def _check_keys(operator: Any) -> pl.DataFrame:
    """Return the key columns of the table.

    Raises:
        NotCompilableError: if a key stands twice.
    """
    keys = _polars(_external(operator), _pairs(operator)[1])
    twice = keys.filter(keys.is_duplicated())
    if twice.height:
        raise NotCompilableError(
            f"JoinExternal: the key {twice.row(0, named=True)} stands more than once in its table, so that rows would be multiplied.",
            "Keep one row for each key, for example with drop_duplicates of the key columns.",
        )
    return keys
