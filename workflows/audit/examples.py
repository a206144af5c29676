"""The audit of the examples of a run: every check in turn, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from workflows.audit.event_index import EventIndex, Tables
from workflows.audit.own_values import check_own_columns
from workflows.audit.recompute import SAMPLE, check_features
from workflows.audit.simultaneous import check_clock, check_simultaneous
from workflows.audit.splits import check_duplicates, check_split_order, count_crossing_sessions
from workflows.audit.targets import check_labelled, check_left_out
from workflows.features.flat_columns import FlatColumns
from workflows.settings import LEAVE_OUT, LeaveOut, PrepareSettings
from workflows.tasks.split import Split


@dataclass
class Audited:
    """What an audit that found no leak looked at.

    Attributes:
        counts: check, or what it counted -> how many.
        warnings: what is no leak, and yet bears on how far the figures can be trusted.
    """

    counts: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def audit_examples(
    tables: Tables,
    events: pl.DataFrame,
    split: Split,
    settings: PrepareSettings,
    seed: int,
    leave_out: LeaveOut = LEAVE_OUT,
    own: Sequence[FlatColumns | None] = (),
    windows: Sequence[tuple[Split, pl.DataFrame]] = (),
) -> Audited:
    """Run every check on the examples of a run.

    Args:
        tables: the example tables.
        events: the canonical events that they were made from, in file order.
        split: the split instants.
        settings: how the examples were made.
        seed: picks the examples that are computed again.
        leave_out: what is neither asked for nor true.
        own: the shop's own columns of shoppers, days and items; None where it has none.
        windows: where each window of the training span begins and ends, as a validation split, and its questions, which training has too.

    Returns:
        How many rows each check looked at, how many rows are dependent or simultaneous, and warnings.

    Raises:
        LeakageError: a check failed; the message names the file, the column and the example.
    """
    log = EventIndex(events, settings)
    audited = Audited()
    audited.counts |= {
        "rows_in_time_order": check_split_order(tables, split, settings),
        "rows_without_duplicates": check_duplicates(tables),
        "rows_recomputed": check_features(tables, log, split, settings, seed, leave_out),
        "rows_against_single_features": sum(check_labelled(table, name) for name, table in tables.items()),
        "rows_without_target_left_out": check_left_out(tables, leave_out),
        "rows_at_simultaneous_events": check_simultaneous(tables, log),
    }
    for own_split, questions in windows:
        of_window: Tables = {("valid", "recommend"): questions}
        checked = check_split_order(of_window, own_split, settings)
        audited.counts["rows_of_windows_in_time_order"] = audited.counts.get("rows_of_windows_in_time_order", 0) + checked
        audited.counts["rows_recomputed"] += check_features(
            of_window, log, own_split, settings, seed, leave_out, SAMPLE // (4 * len(windows))
        )
        audited.counts["rows_without_target_left_out"] += check_left_out(of_window, leave_out)
    if brought := [columns for columns in own if columns is not None]:
        audited.counts["rows_of_own_columns_recomputed"] = check_own_columns(tables, log, brought, settings, seed)
    for counts, warnings in (check_clock(log, settings), count_crossing_sessions(tables, log, settings)):
        audited.counts |= counts
        audited.warnings += warnings
    return audited
