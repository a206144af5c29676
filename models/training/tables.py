"""Encoded features as dense arrays, the form in which the models train on them.

Lists become fixed-length rows, values first and 0 (the padding id) after them, because ragged tensors have no ONNX form.
Integers are int32 and floats float32: half the memory of the files, and batches that need no conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core import tables
from cartwheel.core.errors import DataError, MissingDependencyError, RunError
from cartwheel.core.packages import INSTALL
from cartwheel.merlin_compat import silence
from workflows.features.columns import SHARED_VOCABULARY

Array = npt.NDArray[Any]

PADDING_ID: Final = 0
NULL_ID: Final = 1
OOV_ID: Final = 2
FIRST_ID: Final = 3

SCHEMA_FILE: Final = "schema.pbtxt"


@dataclass(frozen=True)
class Table:
    """Some columns of one features folder.

    Attributes:
        folder: where they come from, for messages.
        columns: name -> int32 or float32 array, ``[N]`` for scalars and ``[N, L]`` for lists.
    """

    folder: Path
    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def batch(self, rows: Array | slice, names: Sequence[str]) -> dict[str, Array]:
        """Return the named columns at ``rows``, scalars as ``[B, 1]`` and lists as ``[B, L]``."""
        picked = {name: self.columns[name][rows] for name in names}
        return {name: values[:, None] if values.ndim == 1 else values for name, values in picked.items()}

    def followed_by(self, other: Table) -> Table:
        """Return these rows and then those of ``other``, which has the same columns; the shorter lists are padded."""
        joined = {}
        for name, above in self.columns.items():
            below = other.columns[name]
            if above.ndim == 2:
                width = max(above.shape[1], below.shape[1])
                above, below = (np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (above, below))
            joined[name] = np.concatenate([above, below])
        return Table(self.folder, joined)

    def at(self, rows: Array) -> Table:
        """Return the rows at ``rows``, in that order."""
        return Table(self.folder, {name: values[rows] for name, values in self.columns.items()})

    def head(self, rows: int) -> Table:
        """Return the first ``rows`` rows."""
        return Table(self.folder, {name: values[:rows] for name, values in self.columns.items()})


@dataclass(frozen=True)
class Packed:
    """Columns side by side in few arrays, from which rows are taken faster than column by column.

    Attributes:
        ids: int32 ``[N, columns]``.
        floats: float32 ``[N, columns]``.
        lists: int32 ``[N, columns, L]``; no columns where there are no lists.
    """

    ids: Array
    floats: Array
    lists: Array

    @staticmethod
    def of(table: Table, ids: Sequence[str], floats: Sequence[str], lists: Sequence[str] = ()) -> Packed:
        """Pack the named columns of a table; lists must be of one length."""
        return Packed(
            np.stack([table[name] for name in ids], axis=1).astype(np.int32, copy=False),
            np.stack([table[name] for name in floats], axis=1).astype(np.float32, copy=False),
            np.stack([table[name] for name in lists], axis=1) if lists else np.zeros((len(table), 0, 0), np.int32),
        )

    def at(self, rows: Array) -> Packed:
        """Return a copy of the rows at ``rows``, of any shape, whose axes replace the first one."""
        return Packed(self.ids[rows], self.floats[rows], self.lists[rows])


def read_table(folder: Path, names: Sequence[str], sizes: Mapping[str, int] | None = None, *, empty_ok: bool = False) -> Table:
    """Read columns of a features folder.

    Args:
        folder: a folder of ``features/`` with its parquet files.
        names: the columns to read; lists are padded.
        sizes: column -> number of ids it may hold; columns without an entry are not checked.
        empty_ok: whether a table without rows is returned rather than refused.

    Raises:
        RunError: if the folder holds no Parquet file, one that cannot be read, or lacks a column.
        DataError: if a column is empty, is not a number, or holds an id out of range.
    """
    table = tables.read_table(folder, names)
    if table.num_rows == 0 and not empty_ok:
        raise DataError(f"{folder} holds no row, where at least one is needed.", "Give prepare a longer log.")
    columns = {name: _to_array(table[name], f"{folder}, column {name!r}") for name in names}
    for name, size in (sizes or {}).items():
        if name in columns:
            _check_ids(columns[name], size, f"{folder}, column {name!r}")
    return Table(folder, columns)


def read_strings(folder: Path, name: str) -> Array:
    """Return a passed-through string column as an object array; errors as in ``read_table``."""
    return np.asarray(tables.read_table(folder, [name])[name].to_pylist(), dtype=object)


def read_sizes(folder: Path) -> dict[str, int]:
    """Return how many ids each categorical column of a features folder may hold, by its Merlin schema.

    Columns that share a vocabulary get one size.

    Raises:
        RunError: if the schema is missing or cannot be read.
    """
    silence()
    try:
        from merlin.schema import Tags
        from merlin.schema.io.tensorflow_metadata import TensorflowMetadata
    except ImportError as error:
        raise MissingDependencyError(
            f"Training needs Merlin, which cannot be imported ({error}).", INSTALL.format("train")
        ) from error
    path = folder / SCHEMA_FILE
    try:
        schema = TensorflowMetadata.from_proto_text_file(str(folder), SCHEMA_FILE).to_merlin_schema()
    except Exception as error:  # the text format's parser raises errors of its own module
        raise RunError(f"{path} cannot be read as a Merlin schema ({tables.first_line(error)}).", "Run prepare again.") from error
    categorical = schema.select_by_tag(Tags.CATEGORICAL)
    sizes = {name: _domain_size(categorical[name].properties, path, name) for name in categorical.column_names}
    for listed, source in SHARED_VOCABULARY.items():
        if listed in sizes and source in sizes:
            sizes[listed] = sizes[source] = max(sizes[listed], sizes[source])
    return sizes


def _domain_size(properties: Mapping[str, Any], path: Path, name: str) -> int:
    largest = properties.get("domain", {}).get("max") or 0
    size = max(int(largest) + 1, int(properties.get("embedding_sizes", {}).get("cardinality", 0)))
    if size <= 1:
        raise RunError(f"{path} states no domain for the categorical column {name!r}.", "Run prepare again.")
    return max(size, FIRST_ID)


def _to_array(column: Any, where: str) -> Array:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _pad(column.combine_chunks(), where)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"{where} is of type {kind}, where an encoded number is expected.", "Run prepare again.")
    if column.null_count:
        raise DataError(f"{where} has {column.null_count} nulls, where encoded features have none.", "Run prepare again.")
    values = column.to_numpy()
    if not pa.types.is_floating(kind):
        return np.asarray(values, dtype=np.int32)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"{where}, row {row} is {values[row]}, where a finite number is expected.", "Run prepare again.")
    return np.asarray(values, dtype=np.float32)


def _pad(column: Any, where: str) -> Array:
    import pyarrow as pa

    array = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = array.flatten().to_numpy(zero_copy_only=False)
    if len(values) and not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"{where} is a list of {values.dtype}, where lists of encoded ids are expected.", "Run prepare again.")
    padded = np.full((len(lengths), max(int(lengths.max(initial=0)), 1)), PADDING_ID, dtype=np.int32)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = values
    return padded


def _check_ids(values: Array, size: int, where: str) -> None:
    if len(values) and (int(values.min()) < 0 or int(values.max()) >= size):
        row = int(np.flatnonzero(((values < 0) | (values >= size)).reshape(len(values), -1).any(axis=1))[0])
        raise DataError(
            f"{where}, row {row} holds an id outside 0..{size - 1}, the domain that its schema states.", "Run prepare again."
        )
