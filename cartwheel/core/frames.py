"""Reading the tables of a run directory into Polars, which is imported when the first is read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.tables import first_line, require_columns, table_files

if TYPE_CHECKING:
    import polars as pl


def read_frame(path: Path, columns: Collection[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, or the parts of a folder in the order of their numbers.

    Args:
        path: the file or folder.
        columns: the columns needed, in this order; None reads all.

    Raises:
        RunError: if it is missing, cannot be read or lacks a column.
    """
    import polars as pl

    try:
        return scan_frame(path, columns).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error


def scan_frame(path: Path, columns: Collection[str] | None = None) -> pl.LazyFrame:
    """Like ``read_frame``, without reading more than the schema yet."""
    import polars as pl

    files = table_files(path)
    try:
        lazy = pl.scan_parquet(files, glob=False)
        held = lazy.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error
    if columns is None:
        return lazy
    require_columns(path, columns, held)
    return lazy.select(list(columns))


def flattened(lists: pl.Series) -> tuple[npt.NDArray[np.int64], pl.Series]:
    """Return the length of each list (0 for null) and all strings one after another ("" for null).

    >>> import polars as pl
    >>> lengths, values = flattened(pl.Series([["a", "b"], [], ["c"]]))
    >>> lengths.tolist(), values.to_list()
    ([2, 0, 1], ['a', 'b', 'c'])
    """
    import polars as pl

    texts = lists.cast(pl.List(pl.String))
    values = pl.from_arrow(texts.to_arrow().flatten())
    assert isinstance(values, pl.Series)
    return texts.list.len().fill_null(0).to_numpy().astype(np.int64), values.cast(pl.String).fill_null("")


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(f"{path} cannot be read as Parquet ({first_line(error)}).", "Run the stage that writes it again.")
