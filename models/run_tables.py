"""Reading the raw examples and the JSON files of a run directory."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import RunError


def read_table(path: Path, columns: Collection[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, or all Parquet files of a folder in the order of their names.

    Args:
        path: the file or folder.
        columns: the columns needed; None reads all.

    Raises:
        RunError: if it is missing or lacks a column.
    """
    lazy = scan_table(path, columns)
    return lazy.collect()


def scan_table(path: Path, columns: Collection[str] | None = None) -> pl.LazyFrame:
    """Like ``read_table``, without reading yet."""
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if not files:
        raise RunError(
            f"{path} is missing or holds no Parquet file.", "Run the earlier stages (prepare, train) on this run directory."
        )
    lazy = pl.scan_parquet(files)
    if columns is None:
        return lazy
    held = lazy.collect_schema().names()
    lacking = [name for name in columns if name not in held]
    if lacking:
        raise RunError(f"{path} lacks the columns {lacking}; it holds {held}.", "Run `cartwheel prepare` again.")
    return lazy.select(list(columns))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: if it is missing or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing.", "Run the earlier stages (prepare, train) on this run directory.") from error
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}.", "Run the stage that writes it again.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds {type(content).__name__}, expected a JSON object.", "Run the stage that writes it again.")
    return content


def check_aligned(first: Path, first_rows: int, second: Path, second_rows: int) -> None:
    """Refuse two tables that should be row-aligned and are not.

    Raises:
        RunError: if the numbers of rows differ.
    """
    if first_rows != second_rows:
        raise RunError(
            f"{first} has {first_rows} rows and {second} has {second_rows}; they must be row-aligned.",
            "Run `cartwheel prepare` again; one of the two is from another run.",
        )


def flattened(lists: pl.Series) -> tuple[npt.NDArray[np.int64], pl.Series]:
    """Return the length of each list (0 for null) and all strings one after another ("" for null).

    >>> lengths, values = flattened(pl.Series([["a", "b"], [], ["c"]]))
    >>> lengths.tolist(), values.to_list()
    ([2, 0, 1], ['a', 'b', 'c'])
    """
    texts = lists.cast(pl.List(pl.String))
    values = pl.from_arrow(texts.to_arrow().flatten())
    assert isinstance(values, pl.Series)
    return texts.list.len().fill_null(0).to_numpy().astype(np.int64), values.cast(pl.String).fill_null("")
