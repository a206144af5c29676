"""The files that hold the vocabulary of a fitted ``Categorify``: Parquet, whose pandas index is the number of each value.

A vocabulary is one file, or a folder of several where NVTabular was told to split it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import NotCompilableError, RunError


def read_vocabulary(path: str | Path, columns: Sequence[str]) -> tuple[pl.DataFrame, int | None]:
    """Read a vocabulary.

    Args:
        path: the file or the folder.
        columns: the columns of a value.

    Returns:
        The values in the order of their numbers, which follow each other, and the number of the first; None where there is no value.

    Raises:
        RunError: if it cannot be read.
        NotCompilableError: if numbers are left out, stand twice or are none.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    whole = Path(path)
    try:
        files = sorted(whole.glob("*.parquet")) if whole.is_dir() else [whole]
        parts = [_part(pq.read_table(file, columns=list(columns), use_pandas_metadata=True), columns) for file in files]
    except (OSError, ArrowException, KeyError, ValueError) as error:
        raise RunError(f"The vocabulary {path} cannot be read ({error}).", "Run prepare again.") from error
    parts = [part for part in parts if part[0].height] or parts[:1]
    if not parts:
        raise RunError(f"The vocabulary {path} is a folder without Parquet files.", "Run prepare again.")
    frame, numbers = pl.concat([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    if not frame.height:
        return frame, None
    order = np.argsort(numbers, kind="stable")
    first = int(numbers[order[0]])
    if not np.array_equal(numbers[order], np.arange(first, first + len(numbers))):
        raise NotCompilableError("Its index leaves numbers out or has some twice.", "Give it an index of 0, 1, 2 and so on.")
    return frame[order], first


def _part(table: Any, columns: Sequence[str]) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
    """Return the values of a file and their numbers, which are the rows' places where the file has no index."""
    described = (table.schema.pandas_metadata or {}).get("index_columns", [])
    index = described[0] if len(described) == 1 else None
    numbers = np.arange(table.num_rows, dtype=np.int64)
    if isinstance(index, str):
        stored = table.column(index).to_numpy()
        if stored.dtype.kind not in "iu":
            raise NotCompilableError(f"Its index {index!r} is no number.", "Give it an index of 0, 1, 2 and so on.")
        numbers = stored.astype(np.int64)
    elif index is not None:
        numbers = index["start"] + index["step"] * numbers
    frame = pl.from_arrow(table.select(list(columns)))
    assert isinstance(frame, pl.DataFrame)
    return frame, numbers
