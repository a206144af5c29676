"""Sessions: the log's own where it names them, pauses elsewhere; and the running session that a query sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from workflows.events.asof import Ints, group_starts
from workflows.events.event_log import ANONYMOUS_PREFIX, MINUTE_US, EventLog


@dataclass(frozen=True)
class Runs:
    """Runs of consecutive interactions of a key whose gaps are all at most the session gap.

    Attributes:
        starts: int64 [N], first row of the run that each row belongs to.
        gap_us: the session gap, microseconds.
    """

    starts: Ints
    gap_us: int


def find_runs(key: Ints, time: Ints, gap_minutes: int) -> Runs:
    """Find the runs of interactions that are sorted by (key, time).

    A run looks at pauses only, never at the log's session ids: serving knows of a shopper when they were last seen, when the
    run began and how many interactions it has, and from these must get the features that training saw.

    Args:
        key: int64 [N].
        time: int64 [N], microseconds.
        gap_minutes: a longer pause starts a new run.
    """
    gap = gap_minutes * MINUTE_US
    rows = np.arange(len(key), dtype=np.int64)
    new = group_starts(key) == rows
    new[1:] |= np.diff(time) > gap
    return Runs(np.maximum.accumulate(np.where(new, rows, 0)) if len(key) else rows, gap)


def with_sessions(events: pl.DataFrame, gap_minutes: int) -> pl.DataFrame:
    """Give every event a session: the log's ``session_id`` where there is one, else one per pause of the shopper.

    Args:
        events: canonical events; any order.
        gap_minutes: a longer pause between two events of a user that name no session starts a new one.

    Returns:
        The events in the same order with ``session_id`` filled in; a session found by a pause is called
        ``<user_id>#<number>``, numbered from 1 in time order.
    """
    pause = pl.col("timestamp").diff().over("user_id", order_by="timestamp") > pl.duration(minutes=gap_minutes)
    numbered = (
        events.lazy()
        .with_row_index("_row")
        .filter(pl.col("session_id").is_null())
        .with_columns(pause.fill_null(value=False).alias("_new"))
        .with_columns((pl.col("_new").cum_sum().over("user_id", order_by="timestamp") + 1).alias("_number"))
        .select("_row", pl.format("{}#{}", pl.col("user_id").fill_null(ANONYMOUS_PREFIX), "_number").alias("_session"))
        .collect()
    )
    joined = events.with_row_index("_row").join(numbered, on="_row", how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce("session_id", "_session").alias("session_id")).drop("_row", "_session")


def session_rows(log: EventLog) -> Ints:
    """Return for each event the first row of its session in the log, int64 [N]: the code of the session.

    Args:
        log: the coded events of ``with_sessions``, each of which has a session; a name that several shoppers share is a session of each.
    """
    rows = np.arange(len(log.key), dtype=np.int64)
    order = np.lexsort((rows, log.session, log.key))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(log.key[order]) != 0) | (np.diff(log.session[order]) != 0)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[np.maximum.accumulate(np.where(new, rows, 0))] if len(order) else rows
    return first
