"""Tables of a run as parity compares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serving.export.run_files import floats, integers, padded, strings
from workflows.features.columns import QUERY_CATEGORICAL, QUERY_LISTS

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, npt.NDArray[Any]]


def differences(served: npt.NDArray[Any], offline: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the absolute or relative difference, whichever is smaller; infinite where only one is missing."""
    if served.dtype.kind in "iu" and offline.dtype.kind in "iu":
        return np.where(served != offline, 1.0, 0.0)
    left, right = served.astype(np.float64), offline.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        apart = np.abs(left - right)
        apart = np.minimum(apart, apart / np.maximum(np.abs(right), 1e-30))
    difference: npt.NDArray[np.float64] = np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))
    return difference


def raw_columns(table: pa.Table, names: Sequence[str], width: int) -> Columns:
    """Return raw columns as the feature graphs read them; lists that the table lacks are empty.

    Args:
        table: raw examples.
        names: columns wanted.
        width: length to which lists are padded.
    """
    import pyarrow as pa

    columns: Columns = {}
    for name in names:
        if name in QUERY_LISTS:
            columns[name] = _texts(table, name, width)
        elif pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type):
            columns[name] = np.array(strings(table[name]), dtype=object).reshape(-1, 1)
        elif name in QUERY_CATEGORICAL:
            columns[name] = integers(table[name]).reshape(-1, 1)
        else:
            columns[name] = floats(table[name]).reshape(-1, 1)
    return columns


def _texts(table: pa.Table, name: str, width: int) -> npt.NDArray[Any]:
    if name not in table.column_names:
        return np.full((len(table), 1), "", dtype=object)
    return padded(table[name], width, "", object)


def picked(columns: Columns, table: pa.Table) -> tuple[Columns, npt.NDArray[np.int64]]:
    """Return the rows of ``columns`` that an offline table names, and which of the table's rows those are."""
    numbers = integers(table["row"]) if "row" in table.column_names else np.arange(len(table))
    kept = np.flatnonzero(numbers < len(next(iter(columns.values()))))
    return {name: value[numbers[kept]] for name, value in columns.items()}, kept


def matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return a column of lists of equal length, float32 [rows, length]."""
    rows = column.to_pylist()
    return np.array(rows, np.float32) if rows else np.zeros((0, 0), np.float32)
