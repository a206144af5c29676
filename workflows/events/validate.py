"""Checks raw events, however many: sound rows go to ``events.parquet`` in time order, bad ones to the quarantine with a reason.

Memory stays bounded however large the log is. Each file is streamed through the rules to disk; then the log is cut into ranges
of time of at most about a million rows, and each is loaded, rid of duplicates (which share their instant, so they share their
range) and sorted by itself. Only the distinct ids are counted in memory.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import DataError
from cartwheel.core.files import atomic_path
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import EventsLayout
from workflows.events import reading
from workflows.events.advice import advise
from workflows.events.numbers import COMMA, files_with_comma
from workflows.events.plausible import check_unit, remarks_on_times
from workflows.events.remarks import remarks_on_values
from workflows.events.repeats import Repeats, describe, find_coarse, separate
from workflows.events.rules import CLOCK, DUPLICATE, OWN_NUMBERS, PARSED, RAW_PREFIX, REASON, check
from workflows.events.schema import CANONICAL, EVENT_SCHEMA, EVENT_TYPES, FILE, ORIGINAL, ROW, EventSummary
from workflows.events.sources.base import Part, Source
from workflows.events.tidy import kept_apart
from workflows.settings import EventSettings

ROWS_AT_ONCE: Final = 1_000_000
"""Rows that are loaded and sorted together; an hour with more of them is not cut further."""

_WORK_PREFIX: Final = ".checking-"
_UTC: Final = dt.timezone.utc


def check_events(
    source: Source,
    settings: EventSettings,
    target: Path,
    *,
    now: dt.datetime | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> EventSummary:
    """Check every row of ``source`` and write what came of it.

    Writes ``events.parquet`` (columns of ``EVENT_SCHEMA``, then the shop's own; sorted by timestamp, ties by file and row),
    ``quarantine.parquet`` (the same columns as text, as the file has them, then ``reason``, ``file`` and ``row``) and
    ``summary.json``, each atomically and the summary last. Equal input gives equal rows in equal order.

    Args:
        source: what to read.
        settings: how strict to be.
        target: folder to write to; created where missing.
        now: the moment of the run, with a time zone; None means the clock.
        rows_at_once: bound on the rows held in memory.

    Raises:
        DataError: a file cannot be read, there are no rows, none of them is sound, or more than ``settings.max_bad_share`` are
            bad; in the last two cases the quarantine is written all the same.
    """
    until = _until(settings, now)
    parts = source.parts()
    with _work_folder(target) as work:
        checked, commas = _check_parts(source, parts, until, settings.extra_types, work)
        for line in _told(parts, commas):
            print(line, file=sys.stderr)
        rows_read = int(_collect(checked.select(pl.len())).item())
        if not rows_read:
            raise DataError(f"{_where(parts)}: there is not a single row of data.", "Check the export.")
        _require_all(parts, rows_read)
        formats = dict.fromkeys(form for part in parts for form in part.timestamp_formats)
        on_unit = check_unit(checked, RAW_PREFIX + "timestamp", tuple(formats), until)
        parted = _sort_and_separate(source, checked, settings, work, rows_at_once)
        kept = parted.events
        with atomic_path(EventsLayout(target).quarantine) as aside:
            _sink(_quarantine(checked, parted.duplicates), aside)
        reasons = _count_reasons(EventsLayout(target).quarantine)
        bad = sum(count for reason, count in reasons.items() if reason not in source.aside_reasons)
        _refuse_if_too_bad(rows_read, bad, reasons, source.aside_reasons, settings, target, parts)
        with atomic_path(EventsLayout(target).events) as aside:
            _sink(kept, aside)
        remarks = (
            *source.tidy.report(checked),
            *on_unit,
            *remarks_on_values(checked, source.zone),
            *parted.remarks,
            *_on_empty(reasons),
        )
    summary = _summarise(source, parts, EventsLayout(target).events, reasons, rows_read, parted.merged)
    summary = dataclasses.replace(summary, remarks=(*remarks, *_remarks_on_events(EventsLayout(target).events)))
    summary.write(EventsLayout(target).summary)
    return summary


def _on_empty(reasons: dict[str, int]) -> list[str]:
    """Return a sentence about rows that hold nothing, or none where there are none."""
    rows = reasons.get(reading.EMPTY_ROW, 0)
    return [f"{rows:,} rows are empty; they are set aside and count as no bad ones."] if rows else []


def _require_all(parts: Sequence[Part], rows_read: int) -> None:
    """Raise where more or fewer rows were read than the files had when they were looked through."""
    counts = [part.rows for part in parts if part.rows is not None]
    if len(counts) == len(parts) and sum(counts) != rows_read:
        raise DataError(
            f"{_where(parts)}: {sum(counts):,} rows were counted, but {rows_read:,} read; the file changed meanwhile.",
            "Run the stage again when nothing writes to it.",
        )


def _told(parts: Sequence[Part], commas: frozenset[str]) -> list[str]:
    """Return one line for each way in which files are read."""
    alike: dict[reading.Detected, list[str]] = {}
    for part in parts:
        for name in part.files:
            decimal = COMMA if name in commas else part.detected.decimal
            alike.setdefault(dataclasses.replace(part.detected, decimal=decimal), []).append(name)
    return [detected.sentence(tuple(names)) for detected, names in alike.items()]


def _until(settings: EventSettings, now: dt.datetime | None) -> dt.datetime:
    """Return the first instant that lies in the future."""
    if settings.latest is not None:
        midnight = dt.datetime.combine(settings.latest, dt.time(), tzinfo=_UTC)
        return midnight + dt.timedelta(days=1)
    return (now or dt.datetime.now(tz=_UTC)).astimezone(_UTC) + dt.timedelta(microseconds=1)


@contextmanager
def _work_folder(target: Path) -> Iterator[Path]:
    """Yield a folder on the disk of ``target`` for what is written on the way; clear away what a killed run left."""
    target.mkdir(parents=True, exist_ok=True)
    for stale in target.glob(f"{_WORK_PREFIX}*"):
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=target))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sink(table: pl.LazyFrame, path: Path) -> None:
    table.sink_parquet(path, engine="streaming", maintain_order=True)


def _collect(table: pl.LazyFrame) -> pl.DataFrame:
    return table.collect(engine="streaming")


def _check_parts(
    source: Source, parts: Sequence[Part], until: dt.datetime, extra_types: tuple[str, ...], work: Path
) -> tuple[pl.LazyFrame, frozenset[str]]:
    """Stream each file through the rules to disk.

    Returns:
        All checked rows, in the order of files and rows, and the names of the files with a decimal comma.
    """
    paths = [work / f"checked-{number:06d}.parquet" for number in range(len(parts))]
    with progress(f"check {source.kind}", total=len(parts)) as advance:
        for part, path in zip(parts, paths, strict=True):
            _check_part(source, part, until, extra_types, path, frozenset())
            advance(note=part.files[0])
    as_text = sorted(frozenset[str]().union(*(part.text_numbers for part in parts)))
    if source.decimal == COMMA:
        commas = frozenset(name for part in parts if part.text_numbers for name in part.files)
    else:
        commas = frozenset[str]() if source.decimal else files_with_comma(_scan(paths), as_text, RAW_PREFIX)
    for number, part in enumerate(parts):
        if commas & frozenset(part.files):
            again = (
                work / f"checked-{number:06d}-again.parquet"
            )  # a name of its own, for what was scanned is remembered by its path
            _check_part(source, part, until, extra_types, again, commas)
            paths[number].unlink()
            paths[number] = again
    return _scan(paths), commas


def _scan(paths: Sequence[Path]) -> pl.LazyFrame:
    return pl.concat([pl.scan_parquet(path, glob=False) for path in paths], how="vertical_relaxed")


def _check_part(
    source: Source, part: Part, until: dt.datetime, extra_types: tuple[str, ...], path: Path, commas: frozenset[str]
) -> None:
    checked = check(
        part.events,
        timestamp_formats=part.timestamp_formats,
        zone=source.zone,
        files_with_comma=commas,
        text_numbers=part.text_numbers,
        until=until,
        anonymous_baskets=source.anonymous_baskets,
        extra_types=extra_types,
    )
    try:
        _sink(checked, path)
    except reading.POLARS_FAILURES as error:
        raise reading.unreadable(part.path, error) from error


@dataclasses.dataclass(frozen=True)
class _Parted:
    """Sound rows in time order and the duplicates among them, as lazy views of files; rows merged; what there is to remark."""

    events: pl.LazyFrame
    duplicates: pl.LazyFrame | None
    merged: int
    remarks: list[str]


def _sort_and_separate(source: Source, checked: pl.LazyFrame, settings: EventSettings, work: Path, rows_at_once: int) -> _Parted:
    """Sort the sound rows and part the duplicates from them, range of time by range of time, to files under ``work``."""
    sound = checked.filter(pl.col(REASON).is_null())
    kept, duplicates = [], []
    ranges = _time_ranges(sound, rows_at_once)
    columns = _event_columns(checked)
    how = Repeats(settings.repeats, source.duplicate_key, tuple(columns), find_coarse(sound, source.zone))
    merged = again = 0
    with progress("sort events", total=len(ranges)) as advance:
        for number, (first, last) in enumerate(ranges):
            rows = _collect(sound.filter(pl.col("timestamp").is_between(pl.lit(first), pl.lit(last), closed="left")))
            parted = separate(rows.sort("timestamp", FILE, ROW), how)
            merged, again = merged + parted.merged, again + parted.again
            kept.append(work / f"kept-{number:06d}.parquet")
            parted.events.select(columns).write_parquet(kept[-1])
            if not parted.duplicates.is_empty():
                duplicates.append(work / f"duplicates-{number:06d}.parquet")
                parted.duplicates.with_columns(pl.lit(DUPLICATE).alias(REASON)).write_parquet(duplicates[-1])
            advance()
    return _Parted(
        events=pl.scan_parquet(kept, glob=False) if kept else sound.select(columns),
        duplicates=pl.scan_parquet(duplicates, glob=False) if duplicates else None,
        merged=merged,
        remarks=[*remarks_on_times(sound), *describe(merged, again, settings.repeats)],
    )


def _time_ranges(sound: pl.LazyFrame, rows_at_once: int) -> list[tuple[dt.datetime, dt.datetime]]:
    """Cut the time into ranges [first, last) of whole hours with at most ``rows_at_once`` rows, if an hour has no more."""
    hours = _collect(sound.group_by(pl.col("timestamp").dt.truncate("1h").alias("hour")).agg(pl.len().alias("rows"))).sort("hour")
    ranges: list[tuple[dt.datetime, dt.datetime]] = []
    rows_in_range = 0
    for hour, rows in hours.iter_rows():
        end = hour + dt.timedelta(hours=1)
        if ranges and rows_in_range + rows <= rows_at_once:
            ranges[-1] = (ranges[-1][0], end)
            rows_in_range += rows
        else:
            ranges.append((hour, end))
            rows_in_range = rows
    return ranges


def _event_columns(checked: pl.LazyFrame) -> list[str]:
    """Return the columns of ``events.parquet``: the canonical ones, then the shop's own."""
    internal = {REASON, CLOCK, ORIGINAL, FILE, ROW, *(RAW_PREFIX + column for column in (*PARSED, *OWN_NUMBERS))}
    own = [name for name in checked.collect_schema().names() if name not in CANONICAL and name not in internal]
    return [*CANONICAL, *own]


def _quarantine(checked: pl.LazyFrame, duplicates: pl.LazyFrame | None) -> pl.LazyFrame:
    """Return the refused rows as text with reason, file and row: first as they stand in the files, then the duplicates."""
    refused = checked.filter(pl.col(REASON).is_not_null())
    both = refused if duplicates is None else pl.concat([refused, duplicates], how="vertical_relaxed")
    there = checked.collect_schema()
    tidied = there[ORIGINAL]
    assert isinstance(tidied, pl.Struct)
    original = {field.name: pl.col(ORIGINAL).struct.field(field.name) for field in tidied.fields}
    text = [
        pl.coalesce(
            *([original[column]] if column in original else []),
            pl.col(RAW_PREFIX + column if RAW_PREFIX + column in there else column).cast(pl.String),
        ).alias(column)
        for column in _event_columns(checked)
    ]
    return both.select(*text, pl.col(REASON).alias("reason"), pl.col(FILE).alias("file"), pl.col(ROW).alias("row"))


def _count_reasons(quarantine: Path) -> dict[str, int]:
    counted = _collect(pl.scan_parquet(quarantine, glob=False).group_by("reason").len()).sort("len", "reason", descending=True)
    return {str(reason): int(count) for reason, count in counted.iter_rows()}


def _where(parts: Sequence[Part]) -> str:
    if not parts:
        return "The source"
    files = sum(len(part.files) for part in parts)
    return str(parts[0].path) if files == 1 else f"{parts[0].path} and {files - 1:,} more"


def _refuse_if_too_bad(
    rows_read: int,
    bad: int,
    reasons: dict[str, int],
    aside: frozenset[str],
    settings: EventSettings,
    target: Path,
    parts: Sequence[Part],
) -> None:
    quarantined = sum(reasons.values())
    told = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
    where = EventsLayout(target).quarantine
    if quarantined == rows_read:
        raise DataError(
            f"{_where(parts)}: none of the {rows_read:,} rows can be used ({told}).",
            f"{where} has each row with its reason; {advise(where, reasons)}check that the source fits the file.",
        )
    worst = [reason for reason in reasons if reason not in aside]
    share = bad / rows_read
    if share > settings.max_bad_share:
        raise DataError(
            f"{_where(parts)}: {bad:,} of {rows_read:,} rows are bad ({share:.2%}: {told}), "
            f"more than the allowed {settings.max_bad_share:.2%}.",
            f"{where} has each row with its reason; {advise(where, worst)}correct the export or raise events.max_bad_share.",
        )


def _remarks_on_events(events: Path) -> list[str]:
    """Return what is odd about the ids of the events that were kept."""
    table = pl.scan_parquet(events, glob=False)
    return [
        line
        for column in ("user_id", "item_id")
        for line in kept_apart(column, _collect(table.select(pl.col(column).drop_nulls().unique()))[column])
    ]


def log_figures(events: Path, text_ids: Collection[str] = ()) -> dict[str, Any]:
    """Return what an ``EventSummary`` says of the events themselves.

    Args:
        events: the checked events.
        text_ids: of ``user_id`` and ``item_id`` those that are text, even if all are digits.
    """
    table = pl.scan_parquet(events, glob=False)
    user, item, instant = pl.col("user_id"), pl.col("item_id"), pl.col("timestamp")
    figures = _collect(
        table.select(
            pl.len().alias("rows"),
            user.drop_nulls().n_unique().alias("users"),
            item.n_unique().alias("items"),
            instant.min().dt.to_string("iso:strict").alias("first"),
            instant.max().dt.to_string("iso:strict").alias("last"),
            *(all_integers(column).alias(f"{column} integers") for column in ("user_id", "item_id")),
        )
    ).row(0, named=True)
    types = dict(_collect(table.group_by("event_type").len()).iter_rows())
    return {
        **{name: figures[name] for name in ("rows", "users", "items", "first", "last")},
        "event_types": {
            event_type: types[event_type]
            for event_type in (*EVENT_TYPES, *sorted(types.keys() - set(EVENT_TYPES)))
            if event_type in types
        },
        "id_types": {
            column: "int64" if figures[f"{column} integers"] and column not in text_ids else "string"
            for column in ("user_id", "item_id")
        },
        "own_columns": tuple(name for name in table.collect_schema().names() if name not in EVENT_SCHEMA),
    }


def _summarise(
    source: Source, parts: Sequence[Part], events: Path, reasons: dict[str, int], rows_read: int, merged: int
) -> EventSummary:
    quarantined = sum(reasons.values())
    set_aside = sum(count for reason, count in reasons.items() if reason in source.aside_reasons)
    text_ids = frozenset[str]().union(*(part.text_ids for part in parts))
    return EventSummary(
        source=source.kind,
        rows_read=rows_read,
        merged=merged,
        quarantined=quarantined,
        set_aside=set_aside,
        bad_share=(quarantined - set_aside) / rows_read,
        reasons=reasons,
        files=tuple(name for part in parts for name in part.files),
        remarks=(),
        **log_figures(events, text_ids),
    )


def all_integers(column: str) -> pl.Expr:
    """Return whether there are ids and each is a 64-bit integer that comes back the same from ``str(int(id))``."""
    text = pl.col(column)
    same = (text.cast(pl.Int64, strict=False).cast(pl.String) == text).fill_null(value=False) | text.is_null()
    return same.all() & text.is_not_null().any()
