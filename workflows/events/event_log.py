"""The validated events as integer codes, for the point-in-time code."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cartwheel.core.errors import DataError
from workflows.events.asof import Bools, Floats, Ints

EVENT_COLUMNS = {
    "user_id": pl.String,
    "item_id": pl.String,
    "event_type": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),
    "session_id": pl.String,
    "category": pl.String,
    "brand": pl.String,
    "price": pl.Float64,
    "quantity": pl.Float64,
}
ANONYMOUS_PREFIX = "session:"
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


@dataclass(frozen=True)
class EventLog:
    """All events, sorted by (history key, time, row in the file); arrays are [N], and codes index the string tables.

    Attributes:
        key: int64, history key: the user, or the session of an anonymous event.
        item: int64.
        time: int64, microseconds since 1970 UTC.
        kind: the event type of each event, an object array of strings.
        interaction: bool, whether the event says that the shopper took an interest in the item.
        price: float64, NaN where missing.
        quantity: float64, NaN where missing.
        category: int64, 0 where missing.
        brand: int64, 0 where missing.
        row: int64, row in the events file: the name of the event everywhere downstream.
        keys: the history keys, "session:" + id for anonymous sessions.
        users: the user id of each key, "" for anonymous sessions.
        items: item ids, sorted, so that a code is also the row in the snapshot.
        categories: categories; the first is "".
        brands: brands; the first is "".
        own: the shop's own columns that were read, [N] rows; none where there are none.
        session: int64, code of the session that the event names; -1 where it names none.
        sessions: session ids, sorted.
    """

    key: Ints
    item: Ints
    time: Ints
    kind: pl.Series
    interaction: Bools
    price: Floats
    quantity: Floats
    category: Ints
    brand: Ints
    row: Ints
    keys: pl.Series
    users: pl.Series
    items: pl.Series
    categories: pl.Series
    brands: pl.Series
    own: pl.DataFrame
    session: Ints
    sessions: pl.Series

    @property
    def last(self) -> int:
        """Instant of the last event, microseconds."""
        return int(self.time.max())

    def is_kind(self, kind: str) -> Bools:
        """Return which events are of type ``kind``: bool [N]."""
        return (self.kind == kind).to_numpy()


def read_events(path: Path, own: Collection[str] | None = None) -> pl.DataFrame:
    """Read an events file: its canonical columns, then the shop's own.

    Args:
        path: the file.
        own: which of the shop's own columns to read; None means all of them.

    Raises:
        DataError: the file cannot be read, is empty, or lacks a canonical column or one of ``own``.
    """
    try:
        schema = pl.read_parquet_schema(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}.", "Run the prepare stage again from its start.") from error
    for name, dtype in EVENT_COLUMNS.items():
        if schema.get(name) != dtype:
            raise DataError(
                f"{path}, column {name}: found {schema.get(name, 'no such column')}, expected {dtype}.",
                "Run the prepare stage again from its start, so that the events are checked.",
            )
    there = [name for name in schema if name not in EVENT_COLUMNS]
    wanted = there if own is None else list(own)
    if missing := [name for name in wanted if name not in there]:
        raise DataError(
            f"{path}: there is no own column '{missing[0]}'; found are {', '.join(there) or 'none'}.",
            "Bring the column along in source.columns and run the prepare stage again.",
        )
    events = pl.read_parquet(path, columns=[*EVENT_COLUMNS, *wanted])
    if events.is_empty():
        raise DataError(f"{path} holds no events.", "Give a log with events, or allow more bad rows (events.max_bad_share).")
    return events


def code_events(
    events: pl.DataFrame, interaction_types: Iterable[str], listed: Iterable[str] = (), listed_users: Iterable[str] = ()
) -> EventLog:
    """Turn canonical events into integer codes.

    Args:
        events: canonical events (see ``EVENT_COLUMNS``), in file order.
        interaction_types: the event types that are interactions.
        listed: items that the shop lists, those that no event names among them.
        listed_users: users that the shop lists, likewise.

    Returns:
        The coded log; equal events give equal codes.
    """
    anonymous = pl.col("user_id").is_null()
    own = [name for name in events.columns if name not in EVENT_COLUMNS]
    coded = events.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
        # The first character keeps a user that is called "session:1" apart from the anonymous session "1".
        pl.when(anonymous)
        .then(pl.lit("s") + pl.col("session_id").fill_null(""))
        .otherwise(pl.lit("u") + pl.col("user_id"))
        .alias("key"),
        "item_id",
        "event_type",
        pl.col("timestamp").dt.epoch("us").alias("time"),
        pl.col("category").fill_null(""),
        pl.col("brand").fill_null(""),
        pl.col("price").fill_nan(None),
        "quantity",
        pl.col("event_type").is_in(list(interaction_types)).alias("interaction"),
        pl.col("session_id").alias("session"),
    )
    tables: dict[str, pl.Series] = {}
    users = sorted({f"u{user}" for user in listed_users})
    for name, always in (("key", users), ("item_id", sorted(set(listed))), ("category", [""]), ("brand", [""])):
        tables[name] = pl.concat([coded[name], pl.Series(name, always, dtype=pl.String)]).unique().sort()
        coded = coded.with_columns(codes_in(tables[name], coded[name]).alias(name))
    sessions = coded["session"].drop_nulls().unique().sort()
    coded = coded.with_columns(codes_in(sessions, coded["session"]).alias("session"))
    coded = coded.sort("key", "time", "row")
    is_user, bare = tables["key"].str.starts_with("u"), tables["key"].str.slice(1)
    named = pl.DataFrame({"user": is_user, "bare": bare})
    return EventLog(
        key=_ints(coded["key"]),
        item=_ints(coded["item_id"]),
        time=_ints(coded["time"]),
        kind=coded["event_type"],
        interaction=coded["interaction"].to_numpy(),
        price=coded["price"].to_numpy(),
        quantity=coded["quantity"].to_numpy(),
        category=_ints(coded["category"]),
        brand=_ints(coded["brand"]),
        row=_ints(coded["row"]),
        keys=named.select(pl.when("user").then("bare").otherwise(pl.lit(ANONYMOUS_PREFIX) + pl.col("bare")).alias("key"))["key"],
        users=named.select(pl.when("user").then("bare").otherwise(pl.lit("")).alias("user"))["user"],
        items=tables["item_id"],
        categories=tables["category"],
        brands=tables["brand"],
        own=events.select(own)[coded["row"]] if own else pl.DataFrame(),
        session=_ints(coded["session"]),
        sessions=sessions,
    )


def codes_in(table: pl.Series, values: pl.Series) -> pl.Series:
    """Code strings by their row in ``table`` (distinct strings): Int64 [N], -1 for a string that is not in it."""
    lookup = pl.DataFrame({"value": table, "code": pl.int_range(len(table), dtype=pl.Int64, eager=True)})
    joined = pl.DataFrame({"value": values}).join(lookup, on="value", how="left", maintain_order="left")
    return joined["code"].fill_null(-1)


def ragged_strings(table: pl.Series, sizes: Ints, codes: Ints) -> pl.Series:
    """Turn ragged codes into lists of strings.

    Args:
        table: String [T], what the codes index.
        sizes: int64 [N], length of each list.
        codes: int64 [sum of sizes], the lists one after another.
    """
    import pyarrow as pa

    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    lists = pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(offsets), table.gather(codes).to_arrow()))
    assert isinstance(lists, pl.Series)
    return lists


def string_lists(table: pl.Series, codes: Ints) -> pl.Series:
    """Turn codes [N, L] (-1 = nothing) into lists of strings of ``table``, each in column order."""
    present = codes >= 0
    return ragged_strings(table, present.sum(axis=1), codes[present])


def float32(values: Floats) -> pl.Series:
    """Turn floats [N] into a Float32 series, NaN becoming null."""
    return pl.Series(values=values, nan_to_null=True).cast(pl.Float32)


def instants(microseconds: Ints) -> pl.Series:
    """Turn microseconds since 1970 into UTC instants."""
    return pl.Series(values=microseconds, dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _ints(series: pl.Series) -> Ints:
    return series.to_numpy().astype(np.int64, copy=False)
