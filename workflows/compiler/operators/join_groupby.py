"""``JoinGroupby``: statistics of the group of a row, as they were when the workflow was fitted.

A group that was never seen has a count of 0, and no other statistic. NVTabular cannot transform a table that has such a group where it
counts, for pandas has no integer for what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.operators.keys import Keys
from workflows.compiler.operators.pick import Pick
from workflows.compiler.operators.statistics import read_statistics
from workflows.compiler.operators.step import Applied, Made

_TYPES: Final = {"count": pl.Int32, "std": pl.Float32, "var": pl.Float32, "mean": pl.Float32}
"""Statistic -> the type that NVTabular gives it; others keep that of the file."""


def read_join_groupby(applied: Applied) -> Made:
    """Read NVTabular's ``JoinGroupby``."""
    operator = applied.operator
    found = [(group, statistic) for group, column, statistic in _columns(applied) if column == applied.column]
    if len(found) != 1:
        raise applied.refuse(
            f"makes {len(found)} columns of this name", "Rename a column, so that each statistic has a name of its own."
        )
    [(group, statistic)] = found
    name = operator.name_sep.join(group)
    table = _read(applied, name)
    if lacking := [column for column in (*group, applied.column) if column not in table.columns]:
        raise applied.refuse(f"has statistics without the columns {lacking}", "Leave name_sep at '_'.")
    values = table[applied.column]
    values = values.cast(_TYPES.get(statistic, values.dtype))
    unknown = pl.Series(values.name, [0 if statistic == "count" else None], dtype=values.dtype)
    try:
        keys = Keys(tuple(table[column] for column in group))
    except NotCompilableError as error:
        raise NotCompilableError(f"Feature column {applied.column!r}: {error.found}", error.fix) from error
    return Made((keys, Pick(applied.column, values.extend(unknown))), tuple(group))


def _columns(applied: Applied) -> Iterator[tuple[list[str], str, str]]:
    """Yield each column that the operator makes: its group, its name and its statistic."""
    operator = applied.operator
    for each in applied.groups:
        group = [each] if isinstance(each, str) else list(each)
        name = operator.name_sep.join(group)
        for statistic in operator.stats:
            for number in operator.cont_names.names if statistic != "count" else [""]:
                yield group, f"{name}_{number}_{statistic}" if number else f"{name}_{statistic}", statistic


def _read(applied: Applied, name: str) -> pl.DataFrame:
    return read_statistics(applied, name, applied.operator.categories.get(name))
