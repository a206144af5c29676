"""Checks raw events, however many: sound rows go to ``events.parquet`` in time order, bad ones to the quarantine with a reason.

Memory stays bounded however large the log is. Each file is streamed through the rules to disk; then the log is cut into ranges
of time of at most about a million rows, and each is loaded, rid of duplicates (which share their instant, so they share their
range) and sorted by itself. Only the distinct ids are counted in memory.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from cartwheel.errors import DataError
from cartwheel.files import atomic_path
from cartwheel.progress import progress
from workflows import reading
from workflows.events import CANONICAL, EVENT_SCHEMA, EVENT_TYPES, FILE, ROW, EventSummary
from workflows.rules import DUPLICATE, PARSED, RAW_PREFIX, REASON, UNKNOWN_TYPE, check
from workflows.settings import EventSettings
from workflows.sources.base import Part, Source

ROWS_AT_ONCE: Final = 1_000_000
"""Rows that are loaded and sorted together; an hour with more of them is not cut further."""

_NAMED_TYPES: Final = 3
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
    for line in _told(parts):
        print(line, file=sys.stderr)
    with _work_folder(target) as work:
        checked = _check_parts(source, parts, until, work)
        rows_read = int(_collect(checked.select(pl.len())).item())
        if not rows_read:
            raise DataError(f"{_where(parts)}: there is not a single row of data.", "Check the export.")
        kept, duplicates = _sort_and_deduplicate(source, checked, work, rows_at_once)
        with atomic_path(target / "quarantine.parquet") as aside:
            _sink(_quarantine(checked, duplicates), aside)
        reasons = _count_reasons(target / "quarantine.parquet")
        bad = sum(count for reason, count in reasons.items() if reason not in source.aside_reasons)
        _refuse_if_too_bad(rows_read, bad, reasons, settings, target, parts)
        with atomic_path(target / "events.parquet") as aside:
            _sink(kept, aside)
    summary = _summarise(source, parts, target / "events.parquet", reasons, rows_read)
    summary.write(target / "summary.json")
    return summary


def _told(parts: Sequence[Part]) -> list[str]:
    """Return one line for each way in which files are read."""
    alike: dict[reading.Detected, list[str]] = {}
    for part in parts:
        alike.setdefault(part.detected, []).extend(part.files)
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


def _check_parts(source: Source, parts: Sequence[Part], until: dt.datetime, work: Path) -> pl.LazyFrame:
    """Stream each file through the rules to disk and return all checked rows, in the order of files and rows."""
    paths = []
    with progress(f"check {source.kind}", total=len(parts)) as advance:
        for number, part in enumerate(parts):
            path = work / f"checked-{number:06d}.parquet"
            checked = check(
                part.events,
                timestamp_formats=part.timestamp_formats,
                until=until,
                anonymous_baskets=source.anonymous_baskets,
            )
            try:
                _sink(checked, path)
            except reading.POLARS_FAILURES as error:
                raise reading.unreadable(part.path, error) from error
            paths.append(path)
            advance(note=part.files[0])
    return pl.concat([pl.scan_parquet(path, glob=False) for path in paths], how="vertical_relaxed")


def _sort_and_deduplicate(
    source: Source, checked: pl.LazyFrame, work: Path, rows_at_once: int
) -> tuple[pl.LazyFrame, pl.LazyFrame | None]:
    """Return the sound rows in time order and the duplicates among them, both as lazy views of files under ``work``."""
    sound = checked.filter(pl.col(REASON).is_null())
    kept, duplicates = [], []
    ranges = _time_ranges(sound, rows_at_once)
    columns = _event_columns(checked)
    with progress("sort events", total=len(ranges)) as advance:
        for number, (first, last) in enumerate(ranges):
            rows = _collect(sound.filter(pl.col("timestamp").is_between(pl.lit(first), pl.lit(last), closed="left")))
            rows = rows.sort("timestamp", FILE, ROW)
            is_first = rows.select(pl.struct(source.duplicate_key).is_first_distinct().alias("first"))["first"]
            kept.append(work / f"kept-{number:06d}.parquet")
            rows.filter(is_first).select(columns).write_parquet(kept[-1])
            if not is_first.all():
                duplicates.append(work / f"duplicates-{number:06d}.parquet")
                rows.filter(~is_first).with_columns(pl.lit(DUPLICATE).alias(REASON)).write_parquet(duplicates[-1])
            advance()
    in_order = pl.scan_parquet(kept, glob=False) if kept else sound.select(columns)
    return in_order, pl.scan_parquet(duplicates, glob=False) if duplicates else None


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
    internal = {REASON, FILE, ROW, *(RAW_PREFIX + column for column in PARSED)}
    own = [name for name in checked.collect_schema().names() if name not in CANONICAL and name not in internal]
    return [*CANONICAL, *own]


def _quarantine(checked: pl.LazyFrame, duplicates: pl.LazyFrame | None) -> pl.LazyFrame:
    """Return the refused rows as text with reason, file and row: first as they stand in the files, then the duplicates."""
    refused = checked.filter(pl.col(REASON).is_not_null())
    both = refused if duplicates is None else pl.concat([refused, duplicates], how="vertical_relaxed")
    text = [
        pl.col(RAW_PREFIX + column if column in PARSED else column).cast(pl.String).alias(column)
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
    rows_read: int, bad: int, reasons: dict[str, int], settings: EventSettings, target: Path, parts: Sequence[Part]
) -> None:
    quarantined = sum(reasons.values())
    told = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
    where = target / "quarantine.parquet"
    if quarantined == rows_read:
        raise DataError(
            f"{_where(parts)}: none of the {rows_read:,} rows can be used ({told}).",
            f"{where} has each row with its reason; {_unknown_types(where)}check that the source fits the file, that the times are "
            "in the past, and, where they are not ISO 8601, that source.timestamp_format says what they are "
            "(s, ms, us, ns, or a strptime pattern).",
        )
    share = bad / rows_read
    if share > settings.max_bad_share:
        raise DataError(
            f"{_where(parts)}: {bad:,} of {rows_read:,} rows are bad ({share:.2%}: {told}), "
            f"more than the allowed {settings.max_bad_share:.2%}.",
            f"{where} has each row with its reason; {_unknown_types(where)}mend the export or raise events.max_bad_share.",
        )


def _unknown_types(quarantine: Path) -> str:
    """Return what to do about the commonest unknown event types, or nothing where all are known."""
    rows = pl.scan_parquet(quarantine, glob=False).filter(pl.col("reason") == UNKNOWN_TYPE, pl.col("event_type").is_not_null())
    counted = _collect(rows.group_by("event_type").len().sort(["len", "event_type"], descending=[True, False]).head(_NAMED_TYPES))
    if counted.is_empty():
        return ""
    named = ", ".join(f"{name!r} ({count:,})" for name, count in counted.rows())
    return f"the unknown event types {named} may be mapped to known ones in source.event_types; "


def _summarise(source: Source, parts: Sequence[Part], events: Path, reasons: dict[str, int], rows_read: int) -> EventSummary:
    table = pl.scan_parquet(events, glob=False)
    user, item, instant = pl.col("user_id"), pl.col("item_id"), pl.col("timestamp")
    figures = _collect(
        table.select(
            pl.len().alias("rows"),
            user.drop_nulls().n_unique().alias("users"),
            item.n_unique().alias("items"),
            instant.min().dt.to_string("iso:strict").alias("first"),
            instant.max().dt.to_string("iso:strict").alias("last"),
            *(_all_integers(column).alias(f"{column} integers") for column in ("user_id", "item_id")),
        )
    ).row(0, named=True)
    types = dict(_collect(table.group_by("event_type").len()).iter_rows())
    quarantined = sum(reasons.values())
    set_aside = sum(count for reason, count in reasons.items() if reason in source.aside_reasons)
    text_ids = frozenset[str]().union(*(part.text_ids for part in parts))
    return EventSummary(
        source=source.kind,
        rows=figures["rows"],
        rows_read=rows_read,
        quarantined=quarantined,
        set_aside=set_aside,
        bad_share=(quarantined - set_aside) / rows_read,
        reasons=reasons,
        first=figures["first"],
        last=figures["last"],
        event_types={event_type: types[event_type] for event_type in EVENT_TYPES if event_type in types},
        users=figures["users"],
        items=figures["items"],
        files=tuple(name for part in parts for name in part.files),
        id_types={
            column: "int64" if figures[f"{column} integers"] and column not in text_ids else "string"
            for column in ("user_id", "item_id")
        },
        own_columns=tuple(name for name in table.collect_schema().names() if name not in EVENT_SCHEMA),
    )


def _all_integers(column: str) -> pl.Expr:
    """Say whether there are ids and each is a 64-bit integer that comes back the same from ``str(int(id))``."""
    text = pl.col(column)
    same = (text.cast(pl.Int64, strict=False).cast(pl.String) == text).fill_null(value=False) | text.is_null()
    return same.all() & text.is_not_null().any()
