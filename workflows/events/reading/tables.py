"""Opens tables of any format as frames: files that are read alike together, however many they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from cartwheel.core.errors import DataError
from workflows.events.reading.csv_file import EMPTY_ROW, Batch, CsvFile, frame, inspect_csv
from workflows.events.reading.dialect import Detected, Dialect, Layout
from workflows.events.reading.failures import POLARS_FAILURES, unreadable
from workflows.events.reading.files import TableFile, discover
from workflows.events.reading.json_file import JsonFile, inspect_json, json_kind
from workflows.events.reading.nested import flat_schema, flattened
from workflows.events.reading.sniff import looks_like_data
from workflows.events.reading.text import UTF_8, open_text
from workflows.events.schema import FLAW
from workflows.settings import SourceSettings

INDEX: Final = "__cartwheel_row"
"""Column of an opened table: the data row within the file, from 1. Its name is one that no export carries."""
FILE_NAME: Final = "__cartwheel_file"
"""Column of an opened table: ``TableFile.name``."""
MARKS: Final = (INDEX, FILE_NAME, FLAW)
"""The columns of an opened table that are not the file's own."""

DIFFERS_FROM_FOLDER: Final = "differs from the name of its folder"

_LARGE: Final = 1 << 22
_BYTES_TOGETHER: Final = 1 << 24

Inspected: TypeAlias = CsvFile | JsonFile | pl.Schema


@dataclasses.dataclass(frozen=True)
class Opened:
    """Files that are read alike, and their rows."""

    files: tuple[TableFile, ...]
    table: pl.LazyFrame
    """The files' own columns (text: all String, missing fields null), the columns of their folders' names (String), and ``MARKS``:
    ``INDEX`` (Int64), ``FILE_NAME`` (String) and ``FLAW`` (String, null where the row is sound as a whole)."""
    detected: Detected
    rows: int | None
    """How many rows a strict reader counts; None where the format itself says it (Parquet)."""
    lists: frozenset[str] = frozenset()
    """Columns of text that hold lists."""

    @property
    def columns(self) -> list[str]:
        """The columns but ``MARKS``."""
        return [name for name in self.table.collect_schema().names() if name not in MARKS]


@dataclasses.dataclass(frozen=True)
class _Looked:
    file: TableFile
    inspected: Inspected
    size: int

    @property
    def detected(self) -> Detected:
        if isinstance(self.inspected, pl.Schema):
            return Detected(Dialect("Parquet"), len(self.inspected))
        notes = tuple(filter(None, [self.inspected.text.note]))
        return Detected(self.inspected.dialect, len(self.inspected.names), notes=notes)

    @property
    def is_large(self) -> bool:
        return self.size > _LARGE

    def goes_with(self, other: _Looked) -> bool:
        if self.is_large or other.is_large or self.detected != other.detected:
            return False
        if [name for name, _ in self.file.partitions] != [name for name, _ in other.file.partitions]:
            return False
        if isinstance(self.inspected, pl.Schema) or isinstance(other.inspected, pl.Schema):
            return self.inspected == other.inspected
        return self.inspected.names == other.inspected.names


def open_files(files: Iterable[TableFile], layout_of: Callable[[TableFile], Layout]) -> Iterator[Opened]:
    """Look through files and open them, small ones that are read alike together; a frame is read when it is collected.

    Args:
        files: the files, in the order in which their rows come.
        layout_of: what is laid down about a text file.

    Raises:
        DataError: a file cannot be read, its encoding or separator cannot be told, or its header is no header.
    """
    together: list[_Looked] = []
    size = 0
    for file in files:
        looked = _look(file, layout_of(file))
        size += looked.size
        if together and not (together[0].goes_with(looked) and size <= _BYTES_TOGETHER):
            yield _open(together)
            together, size = [], looked.size
        together.append(looked)
    if together:
        yield _open(together)


def open_file(file: TableFile, layout: Layout | None = None) -> Opened:
    """Open one file, as ``open_files`` does."""
    return _open([_look(file, layout or Layout())])


def scan(file: TableFile, layout: Layout | None = None) -> pl.LazyFrame:
    """Return the table of one file, as ``open_files`` does."""
    return open_file(file, layout).table


def open_frame(path: Path, settings: SourceSettings | None = None, *, same_columns: bool = False) -> pl.LazyFrame:
    """Open a file, a folder or a glob of any format as one frame, read as a source with ``settings`` would read it.

    Args:
        path: what to open.
        settings: encoding, separator, quote, escape and header; None means the defaults.
        same_columns: whether files that lack a column of the others are refused.

    Returns:
        The columns of all files (String where the file is text), then ``MARKS``; rows with a ``FLAW`` are not sound as a whole. A
        column that some of the files lack is null there.

    Raises:
        DataError: a file cannot be read, or has no header.
    """
    layout = Layout.of(settings) if settings else Layout()
    tables: list[pl.LazyFrame] = []
    first: Opened | None = None
    for opened in open_files(discover(path), lambda _: layout):
        first = first or opened
        if same_columns and (missing := sorted(set(first.columns) ^ set(opened.columns))):
            raise DataError(
                f"{path}: its files do not have the same columns; {missing[0]!r} is in only one of {first.files[0].name} and "
                f"{opened.files[0].name}.",
                "Ask for the right files with a glob, such as part-*.csv.",
            )
        if opened.detected.dialect.kind == "CSV" and layout.has_header:
            refuse_data_as_header(opened.files[0], opened.columns)
        tables.append(opened.table)
    try:
        return pl.concat(tables, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path}: its files do not fit together ({error}).", "Ask for the right files with a glob, such as part-*.csv."
        ) from error


def refuse_data_as_header(file: TableFile, names: Sequence[str]) -> None:
    """Raise the ``DataError`` for a file whose first record is no header."""
    if looks_like_data(tuple(names)):
        shown = ", ".join(repr(name) for name in names[:4])
        raise DataError(
            f"{file.path}: the first record looks like data ({shown}), not like names of columns.",
            'Set source.header = false if the file has no header; its columns are then called "1", "2" and so on.',
        )


def _look(file: TableFile, layout: Layout) -> _Looked:
    try:
        size = file.path.stat().st_size
        if file.is_parquet:
            return _Looked(file, flat_schema(pl.Schema(pl.read_parquet_schema(file.path))), size)
    except POLARS_FAILURES as error:
        raise unreadable(file.path, error) from error
    text = open_text(file.path, layout)
    size = size if not text.compression else _LARGE + 1
    head = text.content if text.content is not None and text.encoding == UTF_8 else next(text.pieces(), b"")
    head = head[text.mark :] if head is text.content else head
    kind = json_kind(head) if layout.separator is None else ""
    return _Looked(file, inspect_json(text, kind) if kind else inspect_csv(text, layout), size)


def _open(together: Sequence[_Looked]) -> Opened:
    first = together[0].inspected
    files = tuple(looked.file for looked in together)
    rows: int | None = None
    lists: frozenset[str] = frozenset()
    if isinstance(first, pl.Schema):
        table = _large_parquet(files[0]) if len(files) == 1 else _frames(lambda: _small_parquet(files), first)
    else:
        schema = pl.Schema(dict.fromkeys(first.names, pl.String()))
        texts = [(looked.file, looked.inspected) for looked in together if not isinstance(looked.inspected, pl.Schema)]
        rows = sum(inspected.rows for _, inspected in texts)
        lists = frozenset[str]().union(*(inspected.lists for _, inspected in texts if isinstance(inspected, JsonFile)))
        if together[0].is_large and isinstance(first, CsvFile) and _is_direct(first):
            table = _direct_csv(files[0], first)
        else:
            table = _frames(lambda: _text_frames(texts), schema)
    return Opened(files, _with_partitions(table, files), together[0].detected, rows, lists)


def _frames(frames: Callable[[], Iterator[pl.DataFrame]], schema: pl.Schema) -> pl.LazyFrame:
    """Return a table that is read frame by frame, anew each time that it is collected."""

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,  # noqa: ARG001
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for whole in frames():
            some = whole if with_columns is None else whole.select(with_columns)
            if left is not None:
                some = some.head(left)
                left -= some.height
            yield some if predicate is None else some.filter(predicate)
            if left == 0:
                return

    return register_io_source(source, schema=pl.Schema({**schema, INDEX: pl.Int64(), FILE_NAME: pl.String(), FLAW: pl.String()}))


def _text_frames(texts: Sequence[tuple[TableFile, CsvFile | JsonFile]]) -> Iterator[pl.DataFrame]:
    """Yield the rows of text files; those of small ones are put together, which is far quicker than a frame for each."""
    held: list[tuple[TableFile, int, Batch]] = []
    size = 0
    for file, inspected in texts:
        rows = 0
        if isinstance(inspected, JsonFile):
            for cells, flaws in inspected.frames():
                yield _marked(cells, flaws, [(file, rows, cells.height)])
                rows += cells.height
            continue
        for batch in inspected.batches():
            held.append((file, rows, batch))
            rows += len(batch.records)
            size += len(batch.records.buffer)
            if size > _LARGE:
                yield _cut(held, inspected)
                held, size = [], 0
    if held:
        yield _cut(held, next(inspected for _, inspected in texts if isinstance(inspected, CsvFile)))


def _cut(held: Sequence[tuple[TableFile, int, Batch]], like: CsvFile) -> pl.DataFrame:
    cells, flaws = frame([batch for _, _, batch in held], like.names, like.dialect)
    return _marked(cells, flaws, [(file, rows, len(batch.records)) for file, rows, batch in held])


def _marked(cells: pl.DataFrame, flaws: pl.Series, places: Sequence[tuple[TableFile, int, int]]) -> pl.DataFrame:
    """Add ``MARKS``; a place is a file, the rows of it that came before, and those that come now."""
    counts = np.array([count for _, _, count in places])
    index = np.concatenate([np.arange(before + 1, before + count + 1) for _, before, count in places])
    names = pl.Series([file.name for file, _, _ in places]).gather(np.repeat(np.arange(len(places)), counts))
    return cells.with_columns(pl.Series(INDEX, index, dtype=pl.Int64), names.alias(FILE_NAME), flaws.cast(pl.String).alias(FLAW))


def _is_direct(inspected: CsvFile) -> bool:
    """Return whether Polars reads the file itself as a strict reader does."""
    dialect = inspected.dialect
    is_usual = len(dialect.separator) == 1 and not dialect.escape and not dialect.skips_blanks and not inspected.text.mark
    return is_usual and dialect.encoding == UTF_8 and not dialect.compression and inspected.is_plain and not inspected.flawed


def _direct_csv(file: TableFile, inspected: CsvFile) -> pl.LazyFrame:
    dialect = inspected.dialect
    table = pl.scan_csv(
        file.path,
        has_header=False,
        skip_lines=dialect.passed_over + inspected.header_lines,
        schema=dict.fromkeys(inspected.names, pl.String()),
        separator=dialect.separator,
        quote_char=dialect.quote or None,
        truncate_ragged_lines=True,
        row_index_name=INDEX,
        row_index_offset=1,
        raise_if_empty=False,
        glob=False,
    )
    nothing = pl.all_horizontal(pl.col(inspected.names).is_null())
    return table.select(
        *inspected.names,
        pl.col(INDEX).cast(pl.Int64),
        pl.lit(file.name).alias(FILE_NAME),
        pl.when(nothing).then(pl.lit(EMPTY_ROW)).alias(FLAW),
    )


def _large_parquet(file: TableFile) -> pl.LazyFrame:
    table = pl.scan_parquet(file.path, row_index_name=INDEX, row_index_offset=1, glob=False, hive_partitioning=False)
    own = flattened(pl.Schema({name: dtype for name, dtype in table.collect_schema().items() if name != INDEX}))
    return table.select(
        *own, pl.col(INDEX).cast(pl.Int64), pl.lit(file.name).alias(FILE_NAME), pl.lit(None, pl.String).alias(FLAW)
    )


def _small_parquet(files: Sequence[TableFile]) -> Iterator[pl.DataFrame]:
    names = {str(file.path): file.name for file in files}
    table = pl.scan_parquet(list(names), include_file_paths=FILE_NAME, glob=False, hive_partitioning=False).collect()
    row = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(FILE_NAME)
    yield table.select(
        *flattened(pl.Schema({name: dtype for name, dtype in table.schema.items() if name != FILE_NAME})),
        row.alias(INDEX),
        pl.col(FILE_NAME).replace_strict(names, return_dtype=pl.String),
        pl.lit(None, pl.String).alias(FLAW),
    )


def _with_partitions(table: pl.LazyFrame, files: Sequence[TableFile]) -> pl.LazyFrame:
    """Add the columns that the names of the folders hold; a row that has the column itself must agree."""
    own = [name for name in table.collect_schema().names() if name not in MARKS]
    added = []
    for column, _ in files[0].partitions:
        values = {file.name: dict(file.partitions).get(column) for file in files}
        text = pl.col(FILE_NAME).replace_strict(values, return_dtype=pl.String)
        if column in own:
            differs = pl.col(column).cast(pl.String, strict=False).ne_missing(text)
            table = table.with_columns(pl.coalesce(FLAW, pl.when(differs).then(pl.lit(DIFFERS_FROM_FOLDER))).alias(FLAW))
        else:
            table = table.with_columns(text.alias(column))
            added.append(column)
    return table.select(*own, *added, *MARKS) if added else table
