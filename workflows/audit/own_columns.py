"""What the shop's own columns know of a label: lists and vectors are taken apart, and columns that are taken as always known are named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import polars as pl

from workflows.audit.single_columns import Finding, find_in_columns
from workflows.features.column import LISTS, Column, Kind

_MOST_TAGS: Final = 20
ALWAYS_KNOWN: Final = "Its table has no valid_from, so the past sees what is written today: give it one, or leave the column out."
"""What to do about a column that tells the label and whose values have no time."""


def find_in_own_columns(
    table: pl.DataFrame, columns: Sequence[Column], always_known: Collection[str] = ()
) -> tuple[list[Finding], int]:
    """Look for the label in each own column of a table of examples.

    Args:
        table: examples with ``label``.
        columns: the columns to look at, of any kind: of tags each of the commonest is looked at, of a vector each number.
        always_known: names of columns whose values have no time, for which the advice is another.

    Returns:
        What was found, by the names of the columns, and how many columns were looked at.
    """
    parts: dict[str, tuple[str, pl.Series]] = {}
    for column in columns:
        for series in taken_apart(table[column.name], column):
            parts[series.name] = column.name, series
    if not parts:
        return [], 0
    flat = table.select("label").with_columns(series for _, series in parts.values())
    found = [
        Finding(
            each.check, each.column, each.is_leak, each.found, ALWAYS_KNOWN if parts[each.column][0] in always_known else each.fix
        )
        for each in find_in_columns(flat, "label", list(parts))
    ]
    return found, len(columns)


def taken_apart(values: pl.Series, column: Column) -> list[pl.Series]:
    """Return a column as plain ones: of tags whether each of the commonest is there, of a vector its numbers, others as they are."""
    if column.kind is Kind.VECTOR:
        numbers = [values.list.get(place, null_on_oob=True) for place in range(column.width)]
        return [series.alias(f"{column.name}[{place}]") for place, series in enumerate(numbers)]
    if column.kind in LISTS:
        single = pl.Series("tag", [tag for tags in values if tags is not None for tag in tags], dtype=pl.String)
        counted = single.value_counts().sort(["count", "tag"], descending=[True, False])
        return [values.list.contains(tag).alias(f"{column.name}[{tag}]") for tag in counted["tag"].head(_MOST_TAGS)]
    return [values]
