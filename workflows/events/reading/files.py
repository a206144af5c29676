"""Finds the files of a table: a file, a folder or a glob; and what the names of its folders say about its rows."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import glob
import itertools
import os
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cartwheel.core.errors import DataError

_TEXT: Final = (".csv", ".tsv", ".tab", ".psv", ".txt", ".dat", ".json", ".jsonl", ".ndjson")
_PACKED: Final = ("", ".gz", ".zst", ".zstd", ".bz2", ".xz")
_TEXT_SUFFIXES: Final = tuple(text + packed for text in _TEXT for packed in _PACKED)
_PARQUET_SUFFIXES: Final = (".parquet", ".pq")
_ACCEPTED: Final = (
    "Parquet (.parquet), CSV (.csv, .tsv, .txt, .dat) and JSON lines (.jsonl, .ndjson, .json), text also compressed (.gz, .zst)"
)
_GLOB_CHARACTERS: Final = frozenset("*?[")
_PARQUET_MAGIC: Final = b"PAR1"
_LOGS_OF_VERSIONS: Final = {"_delta_log": "Delta Lake", ".hoodie": "Apache Hudi"}
_HIVE_MISSING: Final = "__HIVE_DEFAULT_PARTITION__"
_OTHER_MAGIC: Final = {
    b"PK\x03\x04": "a ZIP archive or a workbook of Excel",
    b"\xd0\xcf\x11\xe0": "an old workbook of Excel",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"ARROW1": "Arrow (Feather)",
    b"SQLite format 3\x00": "a SQLite database",
    b"%PDF": "PDF",
}


@dataclasses.dataclass(frozen=True)
class TableFile:
    """One file of a table."""

    path: Path
    """Where it lies."""
    name: str
    """How messages and the quarantine call it: relative to the folder or glob that was asked for."""
    partitions: tuple[tuple[str, str | None], ...] = ()
    """Columns that the names of its folders hold (``event_type=cart``), with their value, None where it is missing."""

    @functools.cached_property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet rather than text."""
        return self.path.name.lower().endswith(_PARQUET_SUFFIXES) or _starts_with(self.path, _PARQUET_MAGIC)


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic


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
    for file in files:
        _refuse_other_types(file, path, extra_suffixes)
    parquet = [file.name for file in files if file.is_parquet]
    text = [file.name for file in files if not file.is_parquet]
    if parquet and text:
        raise DataError(
            f"{path}: Parquet ({parquet[0]}) and text ({text[0]}) are mixed, and it is not said which of them hold the table.",
            "Ask for one of them with a glob such as *.parquet.",
        )
    return files


def _refuse_other_types(file: TableFile, asked: Path, extra_suffixes: Sequence[str]) -> None:
    name = file.path.name.lower()
    many = f" Ask for the right files with a glob such as {asked / '*.csv'}." if asked.is_dir() else ""
    # Spark and Hadoop write files called part-00000 without a suffix.
    if not name.endswith((*_TEXT_SUFFIXES, *_PARQUET_SUFFIXES, *extra_suffixes)) and not name.startswith("part-"):
        raise DataError(
            f"{file.path}: files of type '{file.path.suffix or 'no suffix'}' cannot be read.",
            f"Readable are {_ACCEPTED}; convert or rename the file.{many}",
        )
    try:
        with file.path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise DataError(f"{file.path} cannot be opened ({error.strerror}).", "Correct source.path or the rights.") from error
    if not head:
        raise DataError(f"{file.path}: the file is empty (0 bytes).", "Export it again or remove it.")
    for magic, kind in _OTHER_MAGIC.items():
        if head.startswith(magic):
            raise DataError(
                f"{file.path}: the file is {kind}, whatever its name.", f"Readable are {_ACCEPTED}; convert it.{many}"
            )


def _list_files(path: Path) -> tuple[TableFile, ...]:
    if path.is_file():
        return (_table_file(path, path.parent),)
    if path.is_dir():
        _refuse_tables_of_versions(path)
        found = [file for file in path.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(path))]
        if not found:
            raise DataError(f"{path}: the folder holds no files.", f"Put {_ACCEPTED} files there, or correct source.path.")
        return tuple(_table_file(file, path) for file in sorted(found))
    if _GLOB_CHARACTERS & set(str(path)):
        # Path.glob cannot take a pattern that is absolute.
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True) if Path(match).is_file())  # noqa: PTH207
        if not matches:
            raise DataError(f"{path}: no file matches this pattern.", "Correct source.path.")
        root = Path(os.path.commonpath([match.parent for match in matches]))
        return tuple(_table_file(match, root) for match in matches)
    raise DataError(f"{path}: there is no such file or folder.{_near(path)}", "Correct source.path.")


def _refuse_tables_of_versions(path: Path) -> None:
    """Refuse a folder whose files are not all of a table: its log says which of them were deleted or replaced."""
    for log, kind in _LOGS_OF_VERSIONS.items():
        if (path / log).is_dir():
            raise DataError(
                f"{path}: the folder is a table of {kind}, some of whose files may have been deleted or replaced ({log} says which).",
                "Export the table as it is now, as Parquet or CSV, into a folder of its own.",
            )


def _table_file(path: Path, root: Path) -> TableFile:
    below = path.relative_to(root)
    above = itertools.takewhile(_partition, reversed(root.parts))
    found = [_partition(part) for part in (*reversed(list(above)), *below.parts[:-1])]
    return TableFile(path, below.as_posix(), tuple(partition for partition in found if partition is not None))


def _partition(folder: str) -> tuple[str, str | None] | None:
    """Return the column and value that the name of a folder holds, as Hive, Spark and Polars write them."""
    name, equals, value = folder.partition("=")
    if not (name and equals):
        return None
    column, text = urllib.parse.unquote(name), urllib.parse.unquote(value)
    return column, None if text == _HIVE_MISSING else text


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in relative.parts)


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    return did_you_mean(path.name, (entry.name for entry in path.parent.iterdir()))


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known word whatever its case, or the empty string where none is near."""
    folded: dict[str, str] = {}
    for word in known:
        folded.setdefault(word.lower(), word)
    near = difflib.get_close_matches(wrong.lower(), list(folded), n=1, cutoff=0.6)
    return f" Did you mean '{folded[near[0]]}'?" if near else ""


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
        "Set source.separator if another character stands between the fields."
        if len(found) == 1 and not file.is_parquet
        else "Name the right column in source.columns (kind 'table'), or check that source.kind fits the file.",
    )
