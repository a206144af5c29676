"""A sample of examples, computed again by brute force over the events strictly before their anchors."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import LeakageError
from workflows.audit.event_index import FIX, EventIndex, Table, Tables, file_of, read, take
from workflows.events.asof import Ints
from workflows.events.event_log import MINUTE_US
from workflows.features.recompute import (
    Event,
    cart_lines,
    cross_columns,
    item_features,
    left_out_items,
    query_features,
    recommend_truth,
    told_events,
)
from workflows.settings import LeaveOut, PrepareSettings
from workflows.tasks.cart_requests import CART_REQUESTS
from workflows.tasks.recommend import REFIT
from workflows.tasks.recommend_requests import RECOMMEND_REQUESTS
from workflows.tasks.split import Split, SplitName, iso

SAMPLE: Final = 200
"""Rows that are computed again, spread over the tables; but at least ``MIN_ROWS_OF_A_TABLE`` of each."""
MIN_ROWS_OF_A_TABLE: Final = 20
CROWDED_ROWS: Final = 10
"""Rows more of each table whose shopper did something else at the very instant, where the order of events is unknown."""
ROWS_OF_A_KEY: Final = 5
"""Rows of one shopper in each table, where there are enough others: a bot with most of the events would have most of the sample, and each
of its rows takes as long to compute again as it has events."""
_ROWS_WITH_PEERS: Final = 5
_TOLERANCE: Final = 1e-5


def check_features(
    tables: Tables,
    log: EventIndex,
    split: Split,
    settings: PrepareSettings,
    seed: int,
    leave_out: LeaveOut,
    sample: int = SAMPLE,
) -> int:
    """Compute a sample of rows again, by brute force over events strictly before their anchors, and compare.

    Args:
        tables: the example tables.
        log: the events.
        split: the split instants.
        settings: how the examples were made.
        seed: picks the rows.
        leave_out: what is neither asked for nor true.
        sample: how many rows of all tables together, each table having its least number.

    Returns:
        How many rows were compared.

    Raises:
        LeakageError: a value differs from what the events before the anchor give.
    """
    size = max(sample // max(len(tables), 1), MIN_ROWS_OF_A_TABLE)
    compared = 0
    for number, (name, table) in enumerate(tables.items()):
        chosen = _choose(table, log, size, np.random.default_rng([seed, number]))
        rows = log.with_keys(take(table, chosen)).with_columns(pl.col("anchor").dt.epoch("us").alias("_anchor"))
        for place, row in enumerate(rows.iter_rows(named=True)):
            _compare(row, log, split, settings, name, leave_out, with_peers=place < _ROWS_WITH_PEERS)
        compared += len(rows)
    return compared


def _choose(table: Table, log: EventIndex, size: int, rng: np.random.Generator) -> Ints:
    """Choose rows at random, and some more of those at whose instant other events lie."""
    names = table.lazy().collect_schema().names()
    named = read(table, *[name for name in ("user_key", "example_id") if name in names])
    chosen = _spread(named, log, rng.permutation(len(named)), size)
    if "example_id" not in names:
        return chosen
    crowded = np.flatnonzero(log.crowded.gather(named["example_id"]).to_numpy())
    more = _spread(named, log, rng.permutation(crowded), CROWDED_ROWS)
    return np.concatenate([chosen, np.setdiff1d(more, chosen)])


def _spread(named: pl.DataFrame, log: EventIndex, rows: Ints, size: int) -> Ints:
    """Take the first ``size`` of rows, at most ``ROWS_OF_A_KEY`` of one shopper while there are others."""
    keys = log.with_keys(named[rows]).select("user_key", place=pl.int_range(pl.len()))
    nth = keys.select(pl.col("place").cum_count().over("user_key"))["place"].to_numpy()
    spared = rows[nth <= ROWS_OF_A_KEY][:size]
    return spared if len(spared) else rows[:size]


def _compare(
    row: dict[str, Any],
    log: EventIndex,
    split: Split,
    settings: PrepareSettings,
    name: tuple[SplitName, str],
    leave_out: LeaveOut,
    *,
    with_peers: bool,
) -> None:
    """Compare one row with brute force; the price ratio, which looks at a whole category, only where ``with_peers``."""
    own, anchor = log.of_key(row["user_key"]), row["_anchor"]
    instant = anchor // (settings.state_minutes * MINUTE_US) * settings.state_minutes * MINUTE_US
    told = _told(row, own, settings, lines=name[1] == CART_REQUESTS) if "form" in row else None
    query = query_features(own, anchor, settings) if told is None else _request_features(row, told, log, instant, settings)
    related = log.of_item(row["item_id"]) + (log.peers(row["item_id"], instant) if with_peers else [])
    item = item_features(row["item_id"], related, instant, settings)
    expected = query | item | cross_columns(query, item) | _labels(row, own, split, settings, name, leave_out)
    if name[1] == RECOMMEND_REQUESTS and told is not None:
        expected["left_out"] = _left_out_of_request(told, query, anchor, settings, leave_out)
    if not with_peers:
        del expected["item_price_ratio"]
    for column, value in expected.items():
        if column in row and not _same(row[column], value):
            raise LeakageError(
                f"{file_of(name)}, column {column}: the example of {row['user_key']} at {iso(anchor)} "
                f"(item {row['item_id']}) has {row[column]!r}, but the events that it may look at give {value!r}.",
                FIX,
            )


_Told = tuple[list[Event], list[tuple[str, str]]]
"""What is stored of a shopper, and the items that a request tells of, each with the input that it comes in."""


def _told(row: dict[str, Any], own: list[Event], settings: PrepareSettings, *, lines: bool) -> _Told:
    """Find what is stored for a request and what it tells of: its recent items and, with ``lines``, those of its cart."""
    stored, told = told_events(own, row["_anchor"], row["form"], settings)
    return list(stored), [each for each in told if lines or each[1] == "recent_items"]


def _left_out_of_request(
    told: _Told, query: dict[str, Any], anchor: int, settings: PrepareSettings, leave_out: LeaveOut
) -> list[str]:
    """What a server leaves out, which knows what is stored and what the request tells."""
    if leave_out == "recent":
        return sorted(query["recent_items"])
    hidden = left_out_items(told[0], anchor, settings, leave_out)
    return sorted(hidden | {item for item, _ in told[1]} if leave_out == "interacted" else hidden)


def _request_features(
    row: dict[str, Any], told: _Told, log: EventIndex, instant: int, settings: PrepareSettings
) -> dict[str, Any]:
    """Compute the query columns of a request: of what is stored, with what it tells of appended as events."""
    events = list(told[0])
    for item, source in told[1]:
        known = item_features(item, log.of_item(item), instant, settings)
        facts = {"category": known["item_category"], "brand": known["item_brand"], "price": known["item_price"]}
        kind = log.request_kinds[source]
        events.append({"item_id": item, "event_type": kind, "time": row["_anchor"] - 1, **facts})
    query = query_features(events, row["_anchor"], settings)
    return query | {"user_id": row["user_key"] if row["form"].startswith("known") else ""}


def _labels(
    row: dict[str, Any],
    own: list[Event],
    split: Split,
    settings: PrepareSettings,
    name: tuple[SplitName, str],
    leave_out: LeaveOut,
) -> dict[str, Any]:
    """What the labels of an example must be, by column."""
    if name[1] in {"cart", CART_REQUESTS}:
        return {"label": int(cart_lines(own, row["_anchor"], settings).get(row["item_id"], -1))}
    # A view beside a removal at one instant says nothing of the removed item: only interactions are targets.
    at_anchor = {e["item_id"] for e in own if e["time"] == row["_anchor"] and e["event_type"] in settings.interaction_types}
    if name[1] == "ranking":
        return {"label": int(row["item_id"] in at_anchor)}
    hidden = left_out_items(own, row["_anchor"], settings, leave_out)
    if "train" in name or REFIT in name:
        return {"target_items": [row["item_id"]] if row["item_id"] in at_anchor - hidden else []}
    true = recommend_truth(own, row["_anchor"], split.end_of(name[0]), settings, leave_out)
    targets = [row["item_id"], *sorted(true - {row["item_id"]})] if row["item_id"] in true else []
    return {"target_items": targets, "left_out": sorted(hidden)}


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        ordered = found == expected
        return ordered or (len(found) > 0 and expected[:1] == found[:1] and sorted(found) == sorted(expected))
    if found is None or expected is None or isinstance(expected, str):
        return bool(found == expected)
    return math.isclose(found, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
