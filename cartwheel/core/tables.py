"""Reading the tables and JSON files of a run directory, without pandas and Polars; ``cartwheel.core.frames`` reads into Polars.

PyArrow belongs to the extra ``train``: exporting needs it, serving does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cartwheel.core.errors import MissingDependencyError, RunError
from cartwheel.core.packages import INSTALL

if TYPE_CHECKING:
    import pyarrow as pa

_EARLIER: Final = "Run the earlier stages (`cartwheel prepare`, `cartwheel train`) on this run directory."
_AGAIN: Final = "Run `cartwheel prepare` again."
_REWRITE: Final = "Run the stage that writes it again."


def has_table(path: Path) -> bool:
    """Whether there is a Parquet file at ``path``, or in the folder there."""
    return bool(_files(path))


def table_files(path: Path) -> list[Path]:
    """Return the Parquet files of a table: the file itself, or the parts of a folder in the order of their numbers.

    Raises:
        RunError: if there is none.
    """
    files = _files(path)
    if not files:
        raise RunError(f"{path} is missing or has no Parquet file.", _EARLIER)
    return files


def read_table(path: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read a Parquet file, or the parts of a folder in the order of their numbers.

    Args:
        path: the file or folder.
        columns: the columns needed, in this order; None reads all.

    Raises:
        RunError: if it is missing, cannot be read or lacks a column.
        MissingDependencyError: if PyArrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingDependencyError(f"{path} is Parquet, which is read with PyArrow.", INSTALL.format("train")) from None
    files = table_files(path)
    try:
        if columns is None:
            return pa.concat_tables([pq.ParquetFile(file).read() for file in files])
        require_columns(path, columns, pq.ParquetFile(files[0]).schema_arrow.names)
        names = list(columns)
        return pa.concat_tables([pq.ParquetFile(file).read(names).select(names) for file in files])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise RunError(f"{path} cannot be read as Parquet ({first_line(error)}).", _REWRITE) from error


def column_names(path: Path) -> list[str]:
    """Return the columns that a Parquet file, or the first part of a folder, holds.

    Raises:
        RunError: if it is missing or cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = table_files(path)[0]
    try:
        return list(pq.ParquetFile(file).schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{path} cannot be read as Parquet ({first_line(error)}).", _REWRITE) from error


def require_columns(path: Path, wanted: Collection[str], held: Collection[str]) -> None:
    """Refuse a table that lacks columns.

    Raises:
        RunError: naming them and those that it holds.
    """
    lacking = [name for name in wanted if name not in held]
    if lacking:
        raise RunError(f"{path} lacks the columns {lacking}; it has {list(held)}.", _AGAIN)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: if it is missing or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing.", _EARLIER) from error
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}.", _REWRITE) from error
    if not isinstance(content, dict):
        raise RunError(f"{path} contains {type(content).__name__}, expected a JSON object.", _REWRITE)
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


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.parquet"), key=_part_number) if path.is_dir() else [path] if path.is_file() else []


def _part_number(path: Path) -> tuple[int, str]:
    number = re.search(r"\d+", path.stem)
    return (int(number.group()) if number else -1, path.name)
