"""Own columns of the recommender's items, computed again in plain Python from what their tables and events held before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import LeakageError
from workflows.audit.event_index import FIX, Tables, file_of
from workflows.audit.tasks import PlainEvents, equal_values
from workflows.events.event_log import MINUTE_US
from workflows.events.sessions import with_sessions
from workflows.features.column import LISTS, Column, Kind
from workflows.features.family import Past
from workflows.features.own_items import OwnItems
from workflows.settings import PrepareSettings
from workflows.tasks.split import iso

ROWS: Final = 15
"""Rows of each table that are computed again."""


def check_own_items(tables: Tables, events: pl.DataFrame, own: OwnItems | None, settings: PrepareSettings, seed: int) -> int:
    """Compute the own columns of a sample of examples again and compare.

    Args:
        tables: the example tables.
        events: the canonical events that they were made from, in file order.
        own: the own columns of items; None where there are none.
        settings: how the examples were made.
        seed: picks the rows.

    Returns:
        How many rows were compared.

    Raises:
        LeakageError: a value differs from what was known strictly before the refresh of item statistics that the example sees.
    """
    if own is None:
        return 0
    plain = PlainEvents(with_sessions(events, settings.session_gap_minutes), settings.interaction_types)
    step, compared = settings.state_minutes * MINUTE_US, 0
    for number, (name, table) in enumerate(tables.items()):
        chosen = np.random.default_rng([seed, number, ROWS]).permutation(len(table))[:ROWS]
        rows = table[np.sort(chosen)].with_columns((pl.col("anchor").dt.epoch("us") // step * step).alias("_instant"))
        for row in rows.iter_rows(named=True):
            instant = row["_instant"]
            seen = [event for event in plain.of("item", row["item_id"]) if event.time < instant]
            past = Past(row["item_id"], instant, seen, lambda _: [])
            for column, value in _expected(own, past).items():
                if column in row and not equal_values(row[column], value):
                    raise LeakageError(
                        f"{file_of(name)}, column {column}: item {row['item_id']!r} as of {iso(instant)} has {row[column]!r}, but what "
                        f"was known before then gives {value!r}.",
                        FIX,
                    )
            compared += 1
    return compared


def _expected(own: OwnItems, past: Past) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for family in own.families:
        values = family.recompute(past)
        for column in family.columns:
            found |= _flat(own.tags, column, values[column.name])
    return found


def _flat(tags: Mapping[str, list[str]], column: Column, value: Any) -> dict[str, Any]:
    """Return the categories and numbers that stand for a value, see ``workflows.features.own_items``."""
    if column.kind is Kind.VECTOR:
        return {f"{column.name}_{place}": number for place, number in enumerate(value)}
    if column.kind in LISTS:
        return {f"{column.name}_{place}": float(tag in value) for place, tag in enumerate(tags[column.name])}
    if column.kind is Kind.CALENDAR:
        return {column.name: "" if value is None else str(value)}
    return {column.name: value}
