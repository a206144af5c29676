"""Opens any table for the audit, in every format and dialect that a source of events may have, and finds out what its columns are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from cartwheel.core.errors import DataError
from workflows.events import reading
from workflows.events.blanks import BLANKS
from workflows.events.instants import ISO, parse_instant
from workflows.events.numbers import parse_number
from workflows.events.schema import FLAW
from workflows.settings import SourceSettings

MAX_UNREAD: Final = 0.01
"""Share of records that may be broken; with more of them the table is refused."""


@dataclass(frozen=True)
class AuditedTable:
    """A table that was read.

    Attributes:
        rows: its sound rows; text columns have become numbers, booleans, dates or instants where all their values are.
        unread: what became of the others, in a sentence; empty where there are none.
    """

    rows: pl.DataFrame
    unread: str


def read_table(path: Path, settings: SourceSettings | None = None) -> AuditedTable:
    """Read a table of any columns: Parquet, CSV or JSON, packed or not; a file, a folder or a glob.

    Args:
        path: what to read.
        settings: encoding, separator, quote, escape, header, null tokens; None means the defaults.

    Raises:
        DataError: it cannot be read, its files do not have the same columns, or more than a hundredth of its records are broken.
    """
    settings = settings or SourceSettings()
    found = reading.collect(reading.open_frame(path, settings, same_columns=True), path)
    broken = found.filter(pl.col(FLAW).is_not_null())
    sound = found.filter(pl.col(FLAW).is_null()).drop(reading.MARKS)
    nulls = [*settings.null_values, ""]
    return AuditedTable(sound.with_columns(_typed(column, nulls) for column in sound), _unread(path, broken, found.height))


def _unread(path: Path, broken: pl.DataFrame, rows: int) -> str:
    if broken.is_empty():
        return ""
    file, row, flaw = broken.select(reading.FILE_NAME, reading.INDEX, FLAW).row(0)
    told = f"{broken.height:,} of {rows:,} records cannot be read; the first is row {row} of {file} ({flaw})"
    if broken.filter(pl.col(FLAW) != reading.EMPTY_ROW).height > MAX_UNREAD * rows:
        raise DataError(f"{path}: {told}.", "Export it again, or name its layout under [source] of a configuration (--source).")
    return f"{told}. They are left out."


def _typed(column: pl.Series, nulls: list[str]) -> pl.Series:
    """Return a text column as what all its values are: whole numbers, numbers, yes or no, dates, instants; else as it is."""
    if column.dtype != pl.String:
        return column
    text = column.to_frame("text").select(pl.col("text").str.strip_chars(BLANKS).replace(dict.fromkeys(nulls)))["text"]
    if text.null_count() == len(text):
        return text.alias(column.name)
    cell = pl.col("text")
    tried = (
        cell.cast(pl.Int64, strict=False),
        cell.cast(pl.Float64, strict=False),
        cell.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean),
        pl.when(cell.str.contains(r"^\d{4}-\d\d-\d\d$")).then(cell.str.to_date("%Y-%m-%d", strict=False)),
        parse_instant(cell, (ISO,)),
        parse_number(cell, pl.lit(value=True)),
        parse_number(cell, pl.lit(value=False)),
    )
    for form in tried:
        typed = text.to_frame("text").select(form.alias(column.name))[column.name]
        if typed.null_count() == text.null_count():
            return typed
    return column
