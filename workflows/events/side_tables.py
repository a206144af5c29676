"""Validates side tables like events: valid rows are kept, others are quarantined with a reason, keys are counted.

A row belongs to a key: an item, a user, a session, a day, the category or the brand of an item. With ``valid_from`` a key may have several
rows, each of which holds from its instant on; without it a key has one row, which is taken as always known.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import ConfigError, DataError
from cartwheel.core.files import atomic_path
from cartwheel.core.run_layout import TablesLayout
from workflows.events import reading
from workflows.events.blanks import BLANKS
from workflows.events.instants import ISO, UTC, fault_of, parse_instant
from workflows.events.schema import FLAW
from workflows.events.tidy import Tidy
from workflows.events.typed_cells import plain_text
from workflows.settings import DEFAULT_KEYS, IDENTITY, TABLE_OF, TableSettings

KEY: Final = "key"
VALID_FROM: Final = "valid_from"
FIXED: Final = (KEY, VALID_FROM)
"""Columns of a checked table that are not the shop's."""
MISSING_KEY: Final = "missing key"
NOT_A_DATE: Final = "key is no date"
MISSING_START: Final = "missing valid_from"
BAD_START: Final = "unparseable valid_from"
REPEATED: Final = "duplicate row"
CONTRADICTED: Final = "rows of one key differ"
DAY: Final = "%Y-%m-%d"

_RAW_START: Final = "_raw_valid_from"
REASON: Final = "_reason"
_RESERVED: Final = frozenset({*FIXED, _RAW_START, REASON, "reason", "file", "row"})
_SHOWN: Final = 3


@dataclasses.dataclass(frozen=True)
class TableSummary:
    """What ``check_table`` found; a value of ``summary.json``."""

    table: str
    """Its name in the configuration."""
    on: str
    """What its key names."""
    files: tuple[str, ...]
    """Names of the files read."""
    rows_read: int
    """Rows in the files: ``rows + quarantined``."""
    rows: int
    """Rows kept."""
    quarantined: int
    """Rows refused."""
    reasons: dict[str, int]
    """Reason -> rows refused for it."""
    keys: int
    """Distinct keys among the rows kept."""
    columns: tuple[str, ...]
    """The shop's columns."""
    always_known: bool
    """Whether its rows have no ``valid_from``."""
    first_valid: str
    """The earliest ``valid_from``, ISO 8601; empty where there is none."""
    last_valid: str
    """The latest ``valid_from``, likewise."""
    not_in_log: int
    """Keys that no event has: items never seen, users without events."""
    not_in_table: int
    """Keys of the events that the table lacks."""
    keys_of_log: int
    """Distinct keys of the events."""
    valid_after_log: int
    """Rows that hold only from the last event on, which no example sees."""
    warnings: tuple[str, ...]
    """What a reader should know, a sentence each."""

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain JSON values."""
        return dataclasses.asdict(self)


def on_of(name: str, settings: TableSettings) -> str:
    """Return what the key of a table names.

    Raises:
        ConfigError: its name does not say it, and neither does ``on``.
    """
    found = settings.on or TABLE_OF.get(name)
    if found is None:
        raise ConfigError(
            f"tables.{name}: nothing says what its key names.{reading.did_you_mean(name, TABLE_OF)}",
            f"Set tables.{name}.on to item, user, session, date, category or brand.",
        )
    return found


def table_inputs(name: str, settings: TableSettings) -> list[Path]:
    """Return the files of a table; raises as ``reading.discover``, with the table's name."""
    try:
        return [file.path for file in reading.discover(settings.path)]
    except DataError as error:
        raise _named(name, error) from error


def check_table(name: str, settings: TableSettings, events: Path, target: TablesLayout) -> TableSummary:
    """Check every row of a table, and write the sound and the refused ones.

    Writes ``<name>.parquet`` (``key`` String, ``valid_from`` Datetime("us", "UTC") or null where the table is always known, then the shop's
    columns as String, or of the type that Parquet gives them; sorted by key and time) and ``<name>.quarantine.parquet`` (everything as
    text, then ``reason``, ``file`` and ``row``).

    Args:
        name: of the table in the configuration.
        settings: where it is and how it is read.
        events: the checked events, which its keys are compared with.
        target: where to write; the folder is there.

    Raises:
        ConfigError: the settings do not fit the table.
        DataError: it cannot be read, lacks a column, has more bad rows than allowed, joins nothing, or holds only after all events.
    """
    on = on_of(name, settings)
    checked = checked_rows(name, settings, on)
    refused = checked.filter(pl.col(REASON).is_not_null())
    kept = checked.filter(pl.col(REASON).is_null()).sort(KEY, VALID_FROM)
    own = [column for column in kept.columns if column not in _RESERVED and column not in reading.MARKS]
    with atomic_path(target.quarantine(name)) as aside:
        quarantined(refused, own).write_parquet(aside)
    reasons = {str(reason): int(count) for reason, count in refused[REASON].value_counts(sort=True).iter_rows()}
    refuse_if_too_bad(name, settings, checked.height, reasons, refused, target.quarantine(name))
    with atomic_path(target.table(name)) as aside:
        kept.select(*FIXED, *own).write_parquet(aside)
    return _summary(name, settings, on, checked, kept, own, reasons, events)


def _summary(
    name: str,
    settings: TableSettings,
    on: str,
    checked: pl.DataFrame,
    kept: pl.DataFrame,
    own: list[str],
    reasons: dict[str, int],
    events: Path,
) -> TableSummary:
    known, last = keys_of_log(events, on)
    keys = kept[KEY].unique()
    in_both = int(keys.is_in(known.implode()).sum())
    if not in_both:
        here, there = (", ".join(repr(key) for key in some.sort().head(_SHOWN)) for some in (keys, known))
        raise DataError(
            f"tables.{name}: none of its {len(keys):,} keys ({here}) is one of the {len(known):,} that the events have ({there}), so the "
            "table joins nothing.",
            f"Set tables.{name}.key to the column that holds the same ids; see also exact_ids.",
        )
    late = 0
    first_valid = last_valid = ""
    if settings.valid_from is not None:
        start = kept[VALID_FROM]
        earliest, latest = start.min(), start.max()
        assert isinstance(earliest, dt.datetime)
        assert isinstance(latest, dt.datetime)
        first_valid, last_valid = earliest.isoformat(), latest.isoformat()
        late = int((start >= last).sum())
        if late == len(start):
            raise DataError(
                f"tables.{name}: every valid_from lies at or after the last event ({last.isoformat()}), the first at {first_valid}, so no "
                "example can see the table.",
                f"Give tables.{name}.valid_from the column with the instants at which the rows came to be known, or leave it out if they "
                "always were.",
            )
    found = TableSummary(
        table=name,
        on=on,
        files=tuple(dict.fromkeys(checked[reading.FILE_NAME])),
        rows_read=checked.height,
        rows=kept.height,
        quarantined=checked.height - kept.height,
        reasons=reasons,
        keys=len(keys),
        columns=tuple(own),
        always_known=settings.valid_from is None,
        first_valid=first_valid,
        last_valid=last_valid,
        not_in_log=len(keys) - in_both,
        not_in_table=len(known) - in_both,
        keys_of_log=len(known),
        valid_after_log=late,
        warnings=(),
    )
    return dataclasses.replace(found, warnings=_warnings(found))


def _warnings(found: TableSummary) -> tuple[str, ...]:
    what = f"tables.{found.table}"
    lines = []
    if found.always_known and found.table != IDENTITY:
        lines.append(
            f"{what} has no valid_from, so each of its values is taken as always known. If a column changes over time (a price, a stock), "
            "models see what nobody knew then: give the table valid_from, or leave that column out of features.own."
        )
    if found.not_in_table:
        lines.append(
            f"{what} lacks {found.not_in_table:,} of the {found.keys_of_log:,} keys of the events ({found.on}); their values are missing."
        )
    if found.not_in_log and found.on != "date":
        lines.append(f"{what} has {found.not_in_log:,} of {found.keys:,} keys that no event has ({found.on}).")
    if found.valid_after_log:
        lines.append(
            f"{what}: {found.valid_after_log:,} of {found.rows:,} rows hold only from the last event on; no example sees them."
        )
    return tuple(lines)


def keys_of_log(events: Path, on: str) -> tuple[pl.Series, dt.datetime]:
    """Return the distinct keys of a kind that checked events have, and the instant of the last event."""
    table = pl.scan_parquet(events, glob=False)
    column = pl.col("timestamp").dt.strftime(DAY) if on == "date" else pl.col(DEFAULT_KEYS[on])
    keys = table.select(column.alias(KEY)).unique().drop_nulls().collect(engine="streaming")[KEY]
    last = table.select(pl.col("timestamp").max()).collect(engine="streaming").item()
    return keys, last


def checked_rows(name: str, settings: TableSettings, on: str) -> pl.DataFrame:
    """Return all rows with ``KEY``, ``VALID_FROM``, its text, the shop's columns, the reader's marks and why a row is refused."""
    try:
        opened = reading.open_frame(settings.path, settings.as_source(), same_columns=True)
        raw = reading.collect(opened, settings.path)
    except DataError as error:
        raise _named(name, error) from error
    found = [column for column in raw.columns if column not in reading.MARKS]
    if raw.is_empty():
        raise DataError(f"{settings.path}: there is not a single row of data.", f"Check tables.{name}.path.")
    key, names = settings.key or DEFAULT_KEYS[on], _own_names(name, settings, found)
    for wanted, what in ((key, "key"), (settings.valid_from, "valid_from")):
        if wanted is not None and wanted not in found:
            raise DataError(
                f"{settings.path}: there is no column '{wanted}' for the {what} of tables.{name}; found are "
                f"{', '.join(repr(column) for column in found)}.{reading.did_you_mean(wanted, found)}",
                f"Name the right column in tables.{name}.{what}.",
            )
    tidy = Tidy.of(settings.as_source())
    identifier = tidy.of_name(plain_text(pl.col(key), raw.schema[key], keeps_point=not settings.exact_ids))
    rows = raw.select(
        _day(identifier, settings).alias(KEY) if on == "date" else identifier.alias(KEY),
        identifier.alias("_raw_key"),
        *_start(settings, raw.schema),
        *(
            _own_cell(raw.schema[place], place, settings).alias(own)
            for own, place in names.items()
            if place not in (key, settings.valid_from)
        ),
        *reading.MARKS,
    )
    return _judged(rows, settings)


def _own_names(name: str, settings: TableSettings, found: list[str]) -> dict[str, str]:
    """Return own name -> name in the file, of every column."""
    for own, place in settings.columns.items():
        if place not in found:
            raise DataError(
                f"{settings.path}: there is no column '{place}' for tables.{name}.columns.{own}; found are "
                f"{', '.join(repr(column) for column in found)}.{reading.did_you_mean(place, found)}",
                "Name the right column.",
            )
        if own in _RESERVED or own.startswith("_"):
            raise ConfigError(f"tables.{name}.columns.{own}: this name is reserved.", "Give the column another name.")
    renamed = set(settings.columns.values())
    pairs = [*settings.columns.items(), *((column, column) for column in found if column not in renamed)]
    names: dict[str, str] = {}
    for own, place in pairs:
        if own in names:
            raise ConfigError(
                f"tables.{name}: the columns '{names[own]}' and '{place}' of the file are both called '{own}'.",
                f"Give one of them another name in tables.{name}.columns.",
            )
        names[own if own not in _RESERVED else f"{own}_"] = place
    return names


def _own_cell(dtype: pl.DataType, place: str, settings: TableSettings) -> pl.Expr:
    if dtype != pl.String:
        return pl.col(place)
    bare = pl.col(place).str.strip_chars(BLANKS)
    return pl.when((bare.str.len_bytes() > 0) & ~bare.is_in(list(settings.null_values))).then(bare)


def _start(settings: TableSettings, schema: pl.Schema) -> list[pl.Expr]:
    if settings.valid_from is None:
        return [pl.lit(None, pl.Datetime("us", "UTC")).alias(VALID_FROM), pl.lit(None, pl.String).alias(_RAW_START)]
    text = _own_cell(pl.String(), settings.valid_from, settings)
    if schema[settings.valid_from] != pl.String:
        text = plain_text(pl.col(settings.valid_from), schema[settings.valid_from], keeps_point=False)
    typed = schema[settings.valid_from].is_temporal()
    formats = (ISO,) if typed else _formats(settings)
    return [parse_instant(text, formats, settings.timezone or UTC).alias(VALID_FROM), text.alias(_RAW_START)]


def _day(text: pl.Expr, settings: TableSettings) -> pl.Expr:
    """Return the day that a key names; a day has no zone."""
    return parse_instant(text, (*_formats(settings), ISO), UTC).dt.strftime(DAY)


def _formats(settings: TableSettings) -> tuple[str, ...]:
    if settings.timestamp_format is None:
        return (ISO,)
    if fault := fault_of(settings.timestamp_format):
        raise ConfigError(f"timestamp_format is '{settings.timestamp_format}', which {fault}.", "Leave it out for ISO 8601.")
    return (settings.timestamp_format,)


def _judged(rows: pl.DataFrame, settings: TableSettings) -> pl.DataFrame:
    """Add why each row is refused; a row that says what an earlier one says is refused too, and so are rows that contradict each other."""
    rules = [
        (pl.col("_raw_key").is_null(), MISSING_KEY),
        (pl.col(KEY).is_null(), NOT_A_DATE),
    ]
    if settings.valid_from is not None:
        rules += [(pl.col(_RAW_START).is_null(), MISSING_START), (pl.col(VALID_FROM).is_null(), BAD_START)]
    broken = pl.coalesce(pl.col(FLAW), *(pl.when(rule).then(pl.lit(reason)) for rule, reason in rules))
    rows = rows.with_columns(broken.alias(REASON)).drop("_raw_key")
    own = [column for column in rows.columns if column not in _RESERVED and column not in reading.MARKS]
    whole = rows.select(*FIXED, *own).hash_rows() if own else rows.select(FIXED).hash_rows()
    judged = rows.with_columns(whole.alias("_whole"))
    sound = pl.col(REASON).is_null()
    again = sound & ~pl.col("_whole").is_first_distinct().over(REASON)
    judged = judged.with_columns(pl.when(again).then(pl.lit(REPEATED)).otherwise(REASON).alias(REASON))
    differs = pl.col(REASON).is_null() & (pl.len().over(*FIXED, REASON) > 1)
    return judged.with_columns(pl.when(differs).then(pl.lit(CONTRADICTED)).otherwise(REASON).alias(REASON)).drop("_whole")


def quarantined(refused: pl.DataFrame, own: list[str]) -> pl.DataFrame:
    """Return refused rows of ``checked_rows`` as they are written: text, then ``reason``, ``file`` and ``row``."""
    cells = [plain_text(pl.col(column), refused.schema[column], keeps_point=False).alias(column) for column in (KEY, *own)]
    return refused.select(
        *cells[:1],
        pl.col(_RAW_START).alias(VALID_FROM),
        *cells[1:],
        pl.col(REASON).alias("reason"),
        pl.col(reading.FILE_NAME).alias("file"),
        pl.col(reading.INDEX).alias("row"),
    )


def refuse_if_too_bad(
    name: str, settings: TableSettings, rows: int, reasons: dict[str, int], refused: pl.DataFrame, quarantine: Path
) -> None:
    """Raise the ``DataError`` for a table with more bad rows than allowed, or with no other ones."""
    bad = sum(count for reason, count in reasons.items() if reason != reading.EMPTY_ROW)
    if bad <= settings.max_bad_share * rows and sum(reasons.values()) < rows:
        return
    told = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
    file, row, key = refused.select(reading.FILE_NAME, reading.INDEX, KEY).row(0)
    shown = "" if key is None else f", key {key!r}"
    raise DataError(
        f"tables.{name}: {bad:,} of {rows:,} rows are bad ({bad / rows:.2%}: {told}), more than the allowed {settings.max_bad_share:.2%}; "
        f"the first is row {row} of {file}{shown}.",
        f"{quarantine} has each row with its reason; {_advice(name, reasons)}correct the export or raise tables.{name}.max_bad_share.",
    )


def _advice(name: str, reasons: dict[str, int]) -> str:
    clauses = {
        CONTRADICTED: f"give tables.{name}.valid_from the column that says from when on a row holds, or export one row for each key; ",
        BAD_START: f"set tables.{name}.timestamp_format; ",
        NOT_A_DATE: f"set tables.{name}.timestamp_format; ",
        MISSING_KEY: f"see whether tables.{name}.key is the right column; ",
    }
    return "".join(clause for reason, clause in clauses.items() if reason in reasons)


def _named(name: str, error: DataError) -> DataError:
    """Return an error of the reader of events as one of a table: its settings lie elsewhere."""
    return DataError(f"tables.{name}: {error.found}", error.fix.replace("source.", f"tables.{name}."))
