"""Appends newly checked events to an earlier log: each once, in time order, whether or not the source still holds the old ones."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from cartwheel.core.errors import DataError, RunError
from cartwheel.core.files import atomic_path
from cartwheel.core.run_layout import EventsLayout
from workflows.events.identity import VISITOR
from workflows.events.schema import EVENT_SCHEMA, EventSummary
from workflows.events.validate import log_figures

_NTH: Final = "__cartwheel_nth"
_MARKS: Final = ("reason", "file", "row")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Newly checked events.

    Attributes:
        events: what ``check_events`` wrote.
        summary: what it found.
        whole: whether they must have the shop's own columns; what a gateway took in has none of them.
    """

    events: EventsLayout
    summary: EventSummary
    whole: bool


@dataclasses.dataclass(frozen=True)
class Appended:
    """What came of it.

    Attributes:
        summary: of the log as it is now.
        new: events that the earlier log did not have.
        late: those of them that are no later than its last one.
    """

    summary: EventSummary
    new: int
    late: int


def append_events(earlier: EventsLayout, batches: Sequence[Batch], target: EventsLayout) -> Appended:
    """Write a log of an earlier one's events and those of the batches that it does not have.

    Rows that agree in all columns are the same event, told again: of such rows there are as many as one of the logs has at most. The
    customers that ``tables.identity`` made of visitors are visitors again, so that it may be joined anew.

    Args:
        earlier: the log that goes on; it is only read.
        batches: at least one.
        target: folder of the new log; ``summary.json`` is written last.

    Raises:
        DataError: if a batch has other columns than the log.
        RunError: if the earlier log cannot be read.
    """
    old = _visitors(_read(earlier.events))
    frames = [_in_columns(_read(batch.events.events), old, batch) for batch in batches]
    columns = old.columns
    new = pl.concat(frames)
    known = old.filter(pl.col("timestamp") >= new["timestamp"].min()) if len(new) else old.clear()
    fresh = _numbered(new, columns).join(_numbered(known, columns), on=[*columns, _NTH], how="anti", nulls_equal=True)
    last = old["timestamp"].max()
    with atomic_path(target.events) as aside:
        pl.concat([old, fresh.select(columns)]).sort("timestamp", maintain_order=True).write_parquet(aside)
    quarantines = [_read(each) for each in (earlier.quarantine, *(batch.events.quarantine for batch in batches))]
    with atomic_path(target.quarantine) as aside:
        marked = [each.select(*(name for name in each.columns if name not in _MARKS), *_MARKS) for each in quarantines]
        pl.concat(marked, how="diagonal_relaxed").write_parquet(aside)
    summary = _summary(read_summary(earlier), batches, target.events)
    summary.write(target.summary)
    return Appended(summary, len(fresh), int((fresh["timestamp"] <= last).sum()))


def read_summary(layout: EventsLayout) -> EventSummary:
    """Read ``summary.json``.

    Raises:
        RunError: if it is missing or of another release.
    """
    try:
        content = json.loads(layout.summary.read_text(encoding="utf-8"))
        tuples = {name: tuple(content[name]) for name in ("files", "own_columns", "remarks")}
        return EventSummary(**{**content, **tuples})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{layout.summary} cannot be read ({error}).", "Run the prepare stage again from its start.") from error


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path} cannot be read as Parquet: {error}.", "Run the prepare stage again from its start.") from error


def _visitors(events: pl.DataFrame) -> pl.DataFrame:
    """Return events with the ids with which they came, as they were before ``join_identity``."""
    if VISITOR not in events.columns:
        return events
    was_session = pl.col(VISITOR).eq_missing(pl.col("session_id"))
    return events.with_columns(user_id=pl.when(~was_session).then(VISITOR)).drop(VISITOR)


def _in_columns(events: pl.DataFrame, old: pl.DataFrame, batch: Batch) -> pl.DataFrame:
    """Return a batch in the columns of the log.

    Raises:
        DataError: naming the first column that is missing, unknown or of another type.
    """
    files = ", ".join(batch.summary.files[:1]) + (f" and {len(batch.summary.files) - 1:,} more" * (len(batch.summary.files) > 1))
    own = [name for name in old.columns if name not in EVENT_SCHEMA]
    added = [name for name in events.columns if name not in old.columns]
    lost = [name for name in own if name not in events.columns]
    if added or (lost and batch.whole):
        what = f"brings the column {added[0]!r}, which the log has not" if added else f"lacks the column {lost[0]!r} of the log"
        raise DataError(
            f"The new events have another schema than the log that they go on: {files} {what}.",
            "Bring the same columns along in source.columns, or start anew with `cartwheel run` and another run directory.",
        )
    for name in (name for name in own if name in events.columns):
        found, expected = events.schema[name], old.schema[name]
        if found != expected and pl.Null not in (found, expected):
            raise DataError(
                f"The new events have another schema than the log that they go on: in {files} the column {name!r} is {found},"
                f" in the log {expected}.",
                "Export the column as before, or start anew with `cartwheel run` and another run directory.",
            )
    nothing = [pl.lit(None, old.schema[name]).alias(name) for name in lost]
    return events.with_columns(nothing).select(pl.col(name).cast(dtype) for name, dtype in old.schema.items())


def _numbered(events: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    return events.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).over(columns).alias(_NTH))


def _summary(earlier: EventSummary, batches: Sequence[Batch], events: Path) -> EventSummary:
    each = [earlier, *(batch.summary for batch in batches)]
    told = {name: sum(getattr(one, name) for one in each) for name in ("rows_read", "merged", "quarantined", "set_aside")}
    reasons = Counter[str]()
    for one in each:
        reasons.update(one.reasons)
    typed = [earlier, *(batch.summary for batch in batches if batch.whole)]  # a gateway keeps every id as text
    text_ids = {column for one in typed for column, kind in one.id_types.items() if kind == "string"}
    return EventSummary(
        source=earlier.source,
        bad_share=(told["quarantined"] - told["set_aside"]) / max(told["rows_read"], 1),
        reasons=dict(reasons.most_common()),
        files=tuple(dict.fromkeys(name for one in each for name in one.files)),
        remarks=tuple(dict.fromkeys(remark for one in each for remark in one.remarks)),
        **told,
        **log_figures(events, text_ids),
    )
