"""Own columns of the recommender, computed again in plain Python from what the shop's tables and events held before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import LeakageError
from workflows.audit.event_index import FIX, EventIndex, Tables, file_of, height, take
from workflows.audit.tasks import OWN_FIX, PlainEvents, equal_values, recomputed
from workflows.events.event_log import MINUTE_US, instants
from workflows.events.sessions import with_sessions
from workflows.events.side_tables import DAY
from workflows.features.family import Past
from workflows.features.flat_columns import FlatColumns
from workflows.features.own import OwnFamily
from workflows.features.own_days import OwnDays
from workflows.features.own_items import OwnItems
from workflows.features.registry import FAMILIES
from workflows.settings import PrepareSettings
from workflows.tasks.split import iso

ROWS: Final = 15
"""Rows of each table that are computed again."""
_STRANGER: Final = "stranger"


def check_own_columns(tables: Tables, log: EventIndex, own: Sequence[FlatColumns], settings: PrepareSettings, seed: int) -> int:
    """Compute the own columns of a sample of examples again and compare.

    Args:
        tables: the example tables.
        log: the events that they were made from.
        own: the own columns of shoppers, days and items.
        settings: how the examples were made.
        seed: picks the rows.

    Returns:
        How many rows were compared.

    Raises:
        LeakageError: a value differs from what was known strictly before the instant that the example sees: of an item the refresh of item
            statistics, of a shopper and a day the anchor, and in a request the refresh of what is stored.
    """
    if not own:
        return 0
    plain = PlainEvents(with_sessions(log.canonical, settings.session_gap_minutes), settings.interaction_types)
    step, compared = settings.state_minutes * MINUTE_US, 0
    for number, (name, table) in enumerate(tables.items()):
        chosen = np.random.default_rng([seed, number, ROWS]).permutation(height(table))[:ROWS]
        rows = log.with_keys(take(table, np.sort(chosen))).with_columns(pl.col("anchor").dt.epoch("us").alias("_anchor"))
        rows = rows.with_columns((pl.col("_anchor") // step * step).alias("_refresh"))
        for row in rows.iter_rows(named=True):
            for columns in own:
                who, past = _past(columns, row, plain)
                _compare(file_of(name), row, columns, who, past)
            compared += 1
    return compared


def _past(own: FlatColumns, row: Mapping[str, Any], plain: PlainEvents) -> tuple[str, Past]:
    """Return how messages call the one whose columns they are, and what may be looked at."""
    instant = row["_refresh"]
    if isinstance(own, OwnDays):
        day = instants(np.array([row["_anchor"]])).dt.strftime(DAY)[0]
        return f"the day {day}", Past(day, instant if "form" in row else row["_anchor"], [], lambda _: [])
    if isinstance(own, OwnItems):
        column, entity, who = "item", row["item_id"], f"item {row['item_id']!r}"
    else:
        column, entity = "user", row["user_key"]
        if "form" not in row:
            instant = row["_anchor"]
        elif row["form"].startswith(_STRANGER):
            entity = ""
        who = f"user {entity!r}" if entity else "a stranger"

    def before(kind: str, value: str) -> list[Any]:
        return [event for event in plain.of(kind, value) if event.time < instant]

    return who, Past(entity, instant, before(column, entity) if entity else [], lambda item: before("item", item))


def _compare(file: str, row: Mapping[str, Any], own: FlatColumns, who: str, past: Past) -> None:
    for family in own.families:
        again = recomputed(family, past)
        for column in family.columns:
            for name, value in own.expected(column, again.get(column.name)).items():
                if name in row and not equal_values(row[name], value):
                    raise LeakageError(
                        f"{file}, column {name}: {who} as of {iso(past.anchor)} has {row[name]!r}, but what was known before then gives "
                        f"{value!r} (feature family {family.name!r}).",
                        FIX if isinstance(family, OwnFamily) or family.name in FAMILIES else OWN_FIX,
                    )
