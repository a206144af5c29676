"""The one interface of all sources, and what those that read files share.

A source brings a publisher's tables to raw canonical events: the columns of ``EVENT_SCHEMA`` as text, exactly as the file has
them, beside where each row came from. It judges nothing; ``workflows.events.validate`` does.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, TypeAlias

import polars as pl

from cartwheel.core.errors import ConfigError, DataError
from workflows.events import reading
from workflows.events.instants import ISO, UTC
from workflows.events.numbers import NUMBERS
from workflows.events.schema import ASIDE, CANONICAL, DUPLICATE_KEY, FILE, FLAW, ORIGINAL, ROW
from workflows.events.tidy import IDS, NAMES, Tidy
from workflows.events.typed_cells import flaws, plain_text, refuse_lists, refuse_nested, refuse_types
from workflows.settings import SourceSettings

Names: TypeAlias = Mapping[str, tuple[str, ...]]
"""Column -> the names under which it may stand in a file."""
_TABLE_ONLY: Final = ("columns", "event_types", "default_event_type", "default_item_id", "timestamp_format")
LONGEST_ID: Final = 512
"""Characters of the longest id; a longer one rather is several rows or a whole text that ended up in one cell."""
_NAMED_COLUMNS: Final = 5


@dataclasses.dataclass(frozen=True)
class Part:
    """The raw events of one file, or of several that are read alike."""

    files: tuple[str, ...]
    """How the quarantine calls them."""
    path: Path
    """What error messages call them: the path of the first."""
    events: pl.LazyFrame
    """Columns of ``Source.scan``."""
    timestamp_formats: tuple[str, ...]
    """What ``workflows.events.instants.parse_instant`` should try."""
    detected: reading.Detected
    """How the file is read: by what dialect, decimal sign and time zone."""
    text_numbers: frozenset[str] = frozenset()
    """Columns of numbers that the file has as text, so that their decimal sign has to be found out."""
    text_ids: frozenset[str] = frozenset()
    """Of ``user_id`` and ``item_id`` those that the file declares to be text, so that they stay text even if all are digits."""
    rows: int | None = None
    """How many rows ``events`` has; None where that is not known beforehand."""


class Source(abc.ABC):
    """A log of shop events.

    A new source is one file with one subclass, and one line in ``workflows.events.sources``.
    """

    kind: ClassVar[str]
    """Name in ``source.kind``."""
    duplicate_key: ClassVar[tuple[str, ...]] = DUPLICATE_KEY
    """Rows that agree in all of these columns are duplicates; the first of them stays."""

    aside_reasons: ClassVar[frozenset[str]] = frozenset({reading.EMPTY_ROW})
    """Reasons of rows that are set aside rather than bad: they do not count towards ``events.max_bad_share``."""
    tidy: Tidy = Tidy()
    """How cells are tidied."""
    zone: str = UTC
    """IANA name of the zone of times without an offset."""
    decimal: str | None = None
    """The decimal sign of numbers that stand as text; None means what each file proves."""

    @property
    def anonymous_baskets(self) -> bool:
        """Whether a row without user, but with a session, is an anonymous basket rather than a row with a missing id."""
        return False

    @abc.abstractmethod
    def parts(self) -> Sequence[Part]:
        """Return the raw events file by file, in a fixed order.

        Raises:
            DataError: a file cannot be read or lacks a column.
        """

    @abc.abstractmethod
    def inputs(self) -> list[Path]:
        """Return every file that is read, side tables included; none of them is opened."""

    def scan(self) -> pl.LazyFrame:
        """Return all raw events, lazily.

        Returns:
            One row for each data row of the files. The columns of ``EVENT_SCHEMA``, all String and as the file has them (a typed time
            is ISO 8601; an absent column is null), but tidied; then the shop's own columns; then ``_original`` (see
            ``workflows.events.tidy``), ``_file`` (String), ``_row`` (Int64: the data row within the file, the first after the header is
            1), ``_flaw`` (String or null: what is wrong with the row as a whole) and ``_aside`` (String or null: why a sound row
            is no event of a shopper).
        """
        return pl.concat([part.events for part in self.parts()], how="vertical_relaxed")


class FileSource(Source):
    """A source that reads tables; subclasses say which columns mean what and, where needed, reshape the rows."""

    required: ClassVar[Names] = {}
    """Canonical column -> names in the file, the first that is there is taken; none there is an error."""
    optional: ClassVar[Names] = {}
    """The same for columns that may be absent."""
    own: ClassVar[Names] = {}
    """Own column -> names in the file; may be absent unless ``requires_own``."""
    requires_own: ClassVar[bool] = False
    """Whether every file must have the own columns, since it was the configuration that named them."""
    timestamp_formats: tuple[str, ...] = (ISO,)
    """How the file writes times; ignored where the column is typed."""
    event_files: ClassVar[tuple[str, ...]] = ()
    """Names under which the publisher ships the events; where a folder holds one of them, only that one is read."""
    extra_suffixes: ClassVar[tuple[str, ...]] = ()
    """Suffixes of the publisher's own text format."""

    def __init__(self, settings: SourceSettings, base_folder: Path) -> None:
        self.check_settings(settings)
        if settings.path is None:
            raise ConfigError(
                f"source.path is not set, but the source '{self.kind}' reads files.",
                "Set it to a file, a folder or a glob; relative paths start at the folder of the configuration file.",
            )
        self.path = base_folder / settings.path.expanduser()
        self.asked = reading.Layout.of(settings)
        self.tidy = Tidy.of(settings)
        self.zone = settings.timezone or UTC
        self.decimal = settings.decimal
        self.files = reading.discover(self._chosen(self.path), self.extra_suffixes)

    def check_settings(self, settings: SourceSettings) -> None:
        """Raise ``ConfigError`` where settings are given that this source would ignore."""
        for name in _TABLE_ONLY:
            if getattr(settings, name):
                raise ConfigError(
                    f"source.{name} is set, but the source '{self.kind}' knows its columns.",
                    "Remove it, or set source.kind to 'table'.",
                )

    def _chosen(self, path: Path) -> Path:
        return next((path / name for name in self.event_files if (path / name).is_file()), path)

    def only(self, paths: Collection[Path]) -> FileSource:
        """Return the source with no other files of events than these."""
        chosen = copy.copy(self)
        chosen.files = tuple(file for file in self.files if file.path in paths)
        return chosen

    @property
    def folder(self) -> Path:
        """Where side tables of the publisher are looked for: beside the first file of events."""
        return self.files[0].path.parent

    def parts(self) -> list[Part]:
        """Return the raw events file by file."""
        return [self._part(opened) for opened in reading.open_files(self.files, self._layout_of)]

    def inputs(self) -> list[Path]:
        """Return the files of events and the publisher's side tables."""
        return [*(file.path for file in self.files), *self.side_files()]

    def side_files(self) -> list[Path]:
        """Return the files that are read beside the events."""
        return []

    def open_side(self, path: Path) -> reading.Opened:
        """Open a side table, which has a header whatever the events have, and is UTF-8 or in the encoding that they have."""
        file = reading.TableFile(path, path.name)
        try:
            return reading.open_file(file)
        except DataError:
            if self.asked.encoding is None:
                raise
            return reading.open_file(file, reading.Layout(encoding=self.asked.encoding))

    def _layout_of(self, file: reading.TableFile) -> reading.Layout:
        return self.asked.over(self.layout(file))

    def layout(self, file: reading.TableFile) -> reading.Layout | None:  # noqa: ARG002 - for subclasses
        """Return how the publisher lays out a text file; None means a header line and a separator that it shows."""
        return None

    def detected(self, found: reading.Detected) -> reading.Detected:
        """Add to what was found about a file what the source decides about values: decimal sign and time zone."""
        return dataclasses.replace(found, time_zone=self.zone, decimal=self.decimal or found.decimal)

    def shape(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Bring the publisher's ways to canonical ones; ``events`` has the columns of ``Source.scan`` already."""
        return events

    def _part(self, opened: reading.Opened) -> Part:
        file, table, schema = opened.files[0], opened.table, opened.table.collect_schema()
        found = opened.columns
        places = self._places(found, opened)
        own = {column: names for column, names in _present(self.own, found).items() if column not in CANONICAL}
        refuse_lists([*places.values(), *own.values()], opened)
        refuse_types(places, schema, file)
        events = table.select(
            *(self._canonical_text(column, places.get(column), schema).alias(column) for column in CANONICAL),
            *(_own_column(column, name, schema, file) for column, name in own.items()),
            pl.col(reading.FILE_NAME).alias(FILE),
            pl.col(reading.INDEX).alias(ROW),
            pl.coalesce(FLAW, *flaws({**own, **places}, schema)).alias(FLAW),
            pl.lit(None, pl.String).alias(ASIDE),
        ).with_columns(pl.coalesce(FLAW, *(_no_id(column) for column in IDS)).alias(FLAW))
        time_type = schema[places["timestamp"]]
        if time_type.is_numeric() and self.timestamp_formats == (ISO,):
            raise DataError(
                f"{file.path}: the column '{places['timestamp']}' holds numbers ({time_type}), but ISO 8601 text was expected.",
                "Set source.timestamp_format to the unit of Unix time: s, ms, us or ns.",
            )
        return Part(
            files=tuple(each.name for each in opened.files),
            path=file.path,
            events=_in_order(self.shape(self.tidy.apply(events))),
            detected=self.detected(self._with_unread(opened.detected, found, {*places.values(), *own.values()})),
            timestamp_formats=(ISO,) if time_type.is_temporal() else self.timestamp_formats,
            text_numbers=frozenset(column for column in NUMBERS if _is_text(schema.get(places.get(column, "")))),
            text_ids=frozenset(
                column for column in ("user_id", "item_id") if file.is_parquet and _is_text(schema.get(places.get(column, "")))
            ),
            rows=opened.rows,
        )

    def _with_unread(self, detected: reading.Detected, found: Sequence[str], read: Collection[str]) -> reading.Detected:
        """Note the columns that are left out where it is for the configuration to bring them along."""
        unread = [repr(name) for name in found if name not in read]
        if not unread or not self.requires_own:
            return detected
        more = f" and {len(unread) - _NAMED_COLUMNS} more" if len(unread) > _NAMED_COLUMNS else ""
        told = f"columns not read: {' '.join(unread[:_NAMED_COLUMNS])}{more} (source.columns can bring them along)"
        return dataclasses.replace(detected, notes=(*detected.notes, told))

    def _canonical_text(self, column: str, name: str | None, schema: pl.Schema) -> pl.Expr:
        if name is None:
            return pl.lit(None, pl.String)
        dtype = schema[name]
        # A whole float is an integer that a null forced into floating point; ``tidy`` makes it that, and reports it.
        return plain_text(pl.col(name), dtype, keeps_point=column in NAMES and not self.tidy.exact_ids)

    def _places(self, found: Sequence[str], opened: reading.Opened) -> dict[str, str]:
        places = _present({**self.required, **self.optional}, found)
        for column, names in self.required.items():
            if column not in places:
                dialect = opened.detected.dialect
                if dialect.kind == "CSV" and dialect.has_header:
                    reading.refuse_data_as_header(opened.files[0], found)
                reading.require(column, names, found, opened.files[0])
        for column, names in self.own.items() if self.requires_own else ():
            if not set(names) & set(found):
                reading.require(column, names, found, opened.files[0])
        return places


def _in_order(events: pl.LazyFrame) -> pl.LazyFrame:
    marks = (ORIGINAL, FILE, ROW, FLAW, ASIDE)
    own = [name for name in events.collect_schema().names() if name not in CANONICAL and name not in marks]
    return events.select(*CANONICAL, *own, *marks)


def _present(wanted: Names, found: Sequence[str]) -> dict[str, str]:
    first = {column: next((name for name in names if name in found), None) for column, names in wanted.items()}
    return {column: name for column, name in first.items() if name is not None}


def _no_id(column: str) -> pl.Expr:
    too_long = pl.when(pl.col(column).str.len_chars() > LONGEST_ID).then(pl.lit(f"{column} of over {LONGEST_ID} characters"))
    return too_long.when(pl.col(column).str.contains("\0", literal=True)).then(pl.lit(f"{column} with NUL bytes"))


def _is_text(dtype: pl.DataType | None) -> bool:
    return dtype is not None and (dtype in (pl.String, pl.Categorical, pl.Binary) or isinstance(dtype, pl.Enum))


def _own_column(column: str, name: str, schema: pl.Schema, file: reading.TableFile) -> pl.Expr:
    refuse_nested(name, schema[name], file)
    cell = pl.col(name)
    return (plain_text(cell, schema[name], keeps_point=False) if schema[name] == pl.Binary else cell).alias(column)
