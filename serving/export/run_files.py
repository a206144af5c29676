"""Columns of the tables of a run directory as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa


def item_ids(run: Path) -> list[str]:
    """Read the ids of all items, in the order of the catalogue."""
    return strings(read_table(RunLayout(run).snapshot("items"))["item_id"])


def strings(column: pa.ChunkedArray) -> list[str]:
    """Return a column of strings, "" for null."""
    return ["" if value is None else value for value in column.to_pylist()]


def floats(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return a column of numbers as float32, NaN for null."""
    return doubles(column).astype(np.float32)


def doubles(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return a column of numbers as float64, NaN for null."""
    return _numbers(column.cast("float64").combine_chunks(), np.float64, np.nan)


def integers(column: pa.ChunkedArray, missing: int = 0) -> npt.NDArray[np.int64]:
    """Return a column of whole numbers as int64, ``missing`` for null."""
    return _numbers(column.cast("int64").combine_chunks(), np.int64, missing)


def microseconds(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return a column of instants as Unix microseconds, 0 for null."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz))
    return integers(column)


def _numbers(array: pa.Array, dtype: npt.DTypeLike, missing: float) -> npt.NDArray[Any]:
    """Read an array's buffers; PyArrow's own ``to_numpy`` and ``fill_null`` import pandas where it is installed."""
    place = slice(array.offset, array.offset + len(array))
    validity, values = array.buffers()
    numbers = np.frombuffer(values or b"", dtype=dtype)[place] if len(array) else np.zeros(0, dtype)
    if not array.null_count:
        return numbers.copy()
    valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[place].astype(bool)
    return np.where(valid, numbers, np.asarray(missing, dtype))


def encoded(table: pa.Table, names: Sequence[str], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return encoded columns side by side, [rows, columns].

    Raises:
        RunError: if a column is missing.
    """
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise RunError(f"The features lack the columns {missing}.", "Run `cartwheel prepare` again.")
    return np.stack([(integers(table[name]) if dtype is np.int64 else floats(table[name])) for name in names], axis=1)


def flattened(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, npt.NDArray[np.int64]]:
    """Return the values of a column of lists, one list after the other, and the length of each list."""
    import pyarrow as pa

    combined = column.combine_chunks()
    return pa.chunked_array([combined.flatten()]), integers(pa.chunked_array([combined.value_lengths()]))


def padded(column: pa.ChunkedArray, width: int, filler: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return a column of lists as an array [rows, width]: the last ``width`` of each, in order, ``filler`` behind."""
    values, lengths = flattened(column)
    flat = np.array([*values.to_pylist(), None], dtype=object)[:-1] if dtype is object else integers(values)
    return padded_rows(flat, lengths, width, filler, dtype)


def padded_rows(
    values: npt.NDArray[Any], lengths: npt.NDArray[np.int64], width: int, filler: Any, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Cut ``values`` into lists of ``lengths`` and return them as ``padded`` does."""
    ends = np.cumsum(lengths)
    kept = np.minimum(lengths, width)
    result = np.full((len(lengths), width), filler, dtype=dtype)
    slots = np.arange(width)[None, :]
    filled = slots < kept[:, None]
    result[filled] = values[((ends - kept)[:, None] + slots)[filled]]
    return result
