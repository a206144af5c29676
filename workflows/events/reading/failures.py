"""Errors about unreadable files."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Final

import polars as pl

from cartwheel.core.errors import DataError

POLARS_FAILURES: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What Polars may raise on a damaged file; a panic is no ``Exception`` and must be named."""
STREAM_FAILURES: Final = (OSError, EOFError, zlib.error)
"""What reading a file, compressed or not, may raise."""


def unreadable(path: Path, error: BaseException) -> DataError:
    """Return the one-sentence ``DataError`` for a file that Polars or the system could not read."""
    if isinstance(error, DataError):
        return error
    said = str(error).strip().splitlines()
    why = said[0] if said else type(error).__name__
    if isinstance(error, pl.exceptions.DuplicateError):
        return DataError(f"{path}: two columns have one name ({why.strip().rstrip('.')}).", "Rename one of the two.")
    return DataError(
        f"{path}: the file is corrupt or cannot be read ({why.strip().rstrip('.')}).", "Export or download it again."
    )


def collect(table: pl.LazyFrame, path: Path) -> pl.DataFrame:
    """Collect ``table`` with the streaming engine; what Polars cannot read becomes a ``DataError`` that names ``path``."""
    try:
        return table.collect(engine="streaming")
    except POLARS_FAILURES as error:
        raise unreadable(path, error) from error
