"""Finds tables (Parquet, CSV, CSV.gz; a file, a folder or a glob) and scans them without loading them.

Every cell of a CSV file stays the text that it was. What cannot be read at all is a ``DataError``; a row that is merely broken
(too many fields, an empty line, a last line cut off in the middle) is marked in the column ``FLAW`` and left to the validator.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import glob
import gzip
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Final, cast

import polars as pl

from cartwheel.errors import DataError
from workflows.events import FLAW
from workflows.reading.dialect import Detected as Detected
from workflows.reading.dialect import Dialect as Dialect
from workflows.reading.dialect import Layout as Layout

INDEX: Final = "__cartwheel_row"
"""Column that ``scan`` adds: the data row within the file, from 1. Its name is one that no export carries."""
POLARS_FAILURES: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What Polars may raise on a damaged file; a panic is no ``Exception`` and must be named."""
TOO_MANY_FIELDS: Final = "too many fields"
EMPTY_ROW: Final = "empty row"
CUT_OFF: Final = "cut off"

_OVERFLOW: Final = "__cartwheel_overflow"
_CSV_SUFFIXES: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_PARQUET_SUFFIXES: Final = (".parquet", ".pq")
_ACCEPTED: Final = "Parquet (.parquet), CSV (.csv) and gzipped CSV (.csv.gz)"
_CHUNK_BYTES: Final = 1 << 20
_GLOB_CHARACTERS: Final = frozenset("*?[")


@dataclasses.dataclass(frozen=True)
class TableFile:
    """One file of a table."""

    path: Path
    """Where it lies."""
    name: str
    """How messages and the quarantine call it: relative to the folder or glob that was asked for."""

    @property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet rather than text."""
        return self.path.name.lower().endswith(_PARQUET_SUFFIXES)


def discover(path: Path, extra_suffixes: Sequence[str] = ()) -> tuple[TableFile, ...]:
    """Return the files of the table at ``path``, sorted by name.

    Args:
        path: a file, a folder (searched through all its levels; hidden files and those that start with ``_`` are passed over) or
            a glob (``**`` crosses folders).
        extra_suffixes: suffixes to accept as text beside the usual ones, for a publisher's own format.

    Raises:
        DataError: nothing is there, a file is empty or of a type that cannot be read, or Parquet and text are mixed.
    """
    files = _list_files(path)
    accepted = (*_CSV_SUFFIXES, *_PARQUET_SUFFIXES, *extra_suffixes)
    for file in files:
        if not file.path.name.lower().endswith(accepted):
            many = f" Ask for the right files with a glob such as {path / '*.csv'}." if path.is_dir() else ""
            raise DataError(
                f"{file.path}: files of type '{file.path.suffix or 'no suffix'}' cannot be read.",
                f"Readable are {_ACCEPTED}; convert or rename the file.{many}",
            )
        if file.path.stat().st_size == 0:
            raise DataError(f"{file.path}: the file is empty (0 bytes).", "Export it again or remove it.")
    parquet = [file.name for file in files if file.is_parquet]
    text = [file.name for file in files if not file.is_parquet]
    if parquet and text:
        raise DataError(
            f"{path}: Parquet and CSV files are mixed ({parquet[0]}, {text[0]}), so rows could be there twice.",
            "Keep one kind, or ask for one with a glob such as *.parquet.",
        )
    return files


def _list_files(path: Path) -> tuple[TableFile, ...]:
    if path.is_file():
        return (TableFile(path, path.name),)
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(path))]
        if not found:
            raise DataError(f"{path}: the folder holds no files.", f"Put {_ACCEPTED} files there, or correct source.path.")
        return tuple(TableFile(file, file.relative_to(path).as_posix()) for file in sorted(found))
    if _GLOB_CHARACTERS & set(str(path)):
        # Path.glob cannot take a pattern that is absolute.
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True) if Path(match).is_file())  # noqa: PTH207
        if not matches:
            raise DataError(f"{path}: no file matches this pattern.", "Correct source.path.")
        root = Path(os.path.commonpath([match.parent for match in matches]))
        return tuple(TableFile(match, match.relative_to(root).as_posix()) for match in matches)
    raise DataError(f"{path}: there is no such file or folder.{_near(path)}", "Correct source.path.")


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith((".", "_")) for part in relative.parts)


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    return did_you_mean(path.name, (entry.name for entry in path.parent.iterdir()))


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known word, or the empty string where none is near."""
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def scan(file: TableFile, layout: Layout | None = None) -> pl.LazyFrame:
    """Scan one file lazily.

    Args:
        file: the file.
        layout: how a text file is laid out; None means a header line, and the separator that the header shows
            (comma, semicolon, tab or bar). Parquet needs none.

    Returns:
        The file's own columns (text files: all String, missing fields null) and ``INDEX`` (UInt32) and ``FLAW`` (String or null).

    Raises:
        DataError: the file cannot be opened, is corrupt, or its header is empty or names a column twice.
    """
    if file.is_parquet:
        table = pl.scan_parquet(file.path, row_index_name=INDEX, row_index_offset=1, glob=False, hive_partitioning=False)
        _names_of(table, file)
        return table.with_columns(pl.lit(None, pl.String).alias(FLAW))
    layout = _sniff(file, layout or Layout())
    header = list(layout.names or _header(file, layout))
    table = pl.scan_csv(
        file.path,
        has_header=False,
        skip_lines=1 if layout.has_header else 0,
        schema={name: pl.String() for name in [*header, _OVERFLOW]},
        separator=layout.separator or ",",
        quote_char=layout.quote or None,
        truncate_ragged_lines=True,
        encoding="utf8-lossy",
        row_index_name=INDEX,
        row_index_offset=1,
        raise_if_empty=False,
        glob=False,
    )
    return table.with_columns(_flaw(file, table, header, layout).alias(FLAW)).drop(_OVERFLOW)


def _flaw(file: TableFile, table: pl.LazyFrame, header: Sequence[str], layout: Layout) -> pl.Expr:
    """Say what is wrong with a row as a whole; the schema has one column more than the header to catch surplus fields."""
    flaw = (
        pl.when(pl.col(_OVERFLOW).is_not_null())
        .then(pl.lit(TOO_MANY_FIELDS))
        .when(pl.all_horizontal(pl.col(header).is_null()))
        .then(pl.lit(EMPTY_ROW))
    )
    if not _ends_in_mid_line(file, len(header), layout):
        return flaw.otherwise(pl.lit(None, pl.String))
    last = collect(table.select(pl.len()), file.path).item()
    return flaw.when(pl.col(INDEX) == last).then(pl.lit(CUT_OFF)).otherwise(pl.lit(None, pl.String))


def collect(table: pl.LazyFrame, path: Path) -> pl.DataFrame:
    """Collect ``table`` with the streaming engine; what Polars cannot read becomes a ``DataError`` that names ``path``."""
    try:
        return table.collect(engine="streaming")
    except POLARS_FAILURES as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException) -> DataError:
    """Return the one-sentence ``DataError`` for a file that Polars or the system could not read."""
    said = str(error).strip().splitlines()
    why = said[0] if said else type(error).__name__
    if "CSV malformed" in str(error) or ("could not parse" in str(error) and "dtype `str`" in str(error)):
        place = next((line for line in said if "offset" in line), why)
        why = f"a quotation mark is not closed, or stands in a field that is not itself in quotation marks; {place}"
    return DataError(
        f"{path}: the file is corrupt or cannot be read ({why.strip().rstrip('.')}).", "Export or download it again."
    )


def require(column: str, names: Sequence[str], found: Sequence[str], file: TableFile) -> None:
    """Raise the ``DataError`` for a file that has none of ``names``.

    Args:
        column: the canonical column that is sought.
        names: the names under which it may stand in the file.
        found: the columns that the file has.
        file: the file.
    """
    wanted = " or ".join(f"'{name}'" for name in names)
    listed = ", ".join(f"'{name}'" for name in found)
    raise DataError(
        f"{file.path}: there is no column {wanted} for {column}; found are {listed}.{did_you_mean(names[0], found)}",
        "Name the right column in source.columns (kind 'table'), or check that source.kind fits the file.",
    )


def _names_of(table: pl.LazyFrame, file: TableFile) -> list[str]:
    try:
        return table.collect_schema().names()
    except POLARS_FAILURES as error:
        raise unreadable(file.path, error) from error


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def _first_line(file: TableFile) -> str:
    try:
        with _open(file.path) as stream:
            return stream.readline(_CHUNK_BYTES).decode("utf-8-sig", errors="replace").rstrip("\r\n")
    except (OSError, EOFError) as error:
        raise unreadable(file.path, error) from error


def _sniff(file: TableFile, layout: Layout) -> Layout:
    line = _first_line(file)
    return dataclasses.replace(
        layout,
        separator=layout.separator or max((",", ";", "\t", "|"), key=line.count),
        quote='"' if layout.quote is None else layout.quote,
    )


def detect(file: TableFile, layout: Layout | None = None) -> Detected:
    """Return how ``file`` is read."""
    if file.is_parquet:
        return Detected(Dialect("Parquet"), columns=len(scan(file).collect_schema()) - 2)
    found = _sniff(file, layout or Layout())
    columns = len(found.names or _header(file, found))
    dialect = Dialect("CSV", separator=found.separator or ",", quote=found.quote or "", has_header=found.has_header)
    return Detected(dialect, columns)


def _header(file: TableFile, layout: Layout) -> list[str]:
    names = next(csv.reader([_first_line(file)], delimiter=layout.separator or ","), [])
    if not any(name.strip() for name in names):
        raise DataError(f"{file.path}: the first line is blank, but column names were expected.", "Add a header line.")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{file.path}: the header names the column '{twice[0]}' twice.", "Rename one of the two.")
    return [name or f"unnamed_{number}" for number, name in enumerate(names, start=1)]


def _ends_in_mid_line(file: TableFile, fields: int, layout: Layout) -> bool:
    """Tell whether the file's last line has no line end and fewer than ``fields`` fields: it was cut off."""
    tail = _tail(file)
    if tail.endswith((b"\n", b"\r")):
        return False
    last = tail.rsplit(b"\n", 1)[-1].decode("utf-8", errors="replace")
    cells = next(csv.reader([last], delimiter=layout.separator or ","), []) if layout.quote else last.split(layout.separator)
    return len(cells) < fields


def _tail(file: TableFile) -> bytes:
    tail = b""
    try:
        with _open(file.path) as stream:
            if not file.path.name.lower().endswith(".gz"):
                stream.seek(max(0, file.path.stat().st_size - _CHUNK_BYTES))
            while chunk := stream.read(_CHUNK_BYTES):
                tail = (tail + chunk)[-_CHUNK_BYTES:]
    except (OSError, EOFError) as error:
        raise unreadable(file.path, error) from error
    return tail
