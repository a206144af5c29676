"""The leakage audit of declared tasks.

A sample of features and labels is computed again, in plain Python, from what lies on their own side of the anchor; and the label is looked
for in every column that the shop brought.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import ConfigError, LeakageError
from cartwheel.core.hooks import described
from workflows.audit.own_columns import find_in_own_columns
from workflows.events.event_log import ANONYMOUS_PREFIX, EVENT_COLUMNS
from workflows.features.column import Column, Owner
from workflows.features.family import Event, FeatureFamily, Past
from workflows.tasks.split import SplitName, iso
from workflows.tasks.task import Entity, Future, Label

ROWS: Final = 40
"""Examples of each split that are computed again."""
KEY: Final = "_key"
"""Column of examples, while they are made: history key of the session's shopper."""
AHEAD: Final = "_ahead"
"""Column of examples: ``Moments.ahead``, where there is more than one window."""
_TOLERANCE: Final = 1e-5
OWN_FIX: Final = (
    "Let it look at nothing at or after the anchor, and let compute and recompute agree; do not train on these examples."
)


class PlainEvents:
    """Events by user and by item, in time order and at one instant in file order, with none of the fast code.

    Args:
        events: canonical events that have a session each, in file order.
        interaction_types: event types that are interactions.
    """

    def __init__(self, events: pl.DataFrame, interaction_types: Sequence[str]) -> None:
        own = [name for name in events.columns if name not in EVENT_COLUMNS]
        self._events = events.select(
            pl.coalesce("user_id", pl.lit(ANONYMOUS_PREFIX) + pl.col("session_id")).alias("user"),
            pl.col("item_id").alias("item"),
            pl.col("event_type").alias("kind"),
            pl.col("timestamp").dt.epoch("us").alias("time"),
            pl.col("session_id").alias("session"),
            pl.col("event_type").is_in(list(interaction_types)).alias("interaction"),
            pl.col("price").fill_nan(None),
            pl.col("quantity").fill_nan(None),
            pl.col("category").fill_null(""),
            pl.col("brand").fill_null(""),
            (pl.struct(own) if own else pl.lit(None)).alias("own"),
        ).sort("time", maintain_order=True)
        self._found: dict[tuple[str, str], list[Event]] = {}

    def of(self, column: str, value: str) -> list[Event]:
        """List every event with a value in ``user`` or ``item``."""
        if (column, value) not in self._found:
            rows = self._events.filter(pl.col(column) == value).iter_rows(named=True)
            self._found[column, value] = [Event(**{**row, "own": row["own"] or {}}) for row in rows]
        return self._found[column, value]


@dataclass(frozen=True)
class Audited:
    """What the audit looked at, and what it found that is no leak but for a person to judge."""

    counts: dict[str, int]
    warnings: list[str]


def audit_task(
    name: str,
    entity: Entity,
    label: Label,
    families: Sequence[FeatureFamily],
    tables: Mapping[SplitName, pl.DataFrame],
    events: PlainEvents,
    seed: int,
) -> dict[str, int]:
    """Compute a sample of features and labels again and compare.

    Args:
        name: of the task, for messages.
        entity: what it is about.
        label: what counts as true.
        families: the families whose columns the tables have.
        tables: examples of each split, with ``KEY`` for sessions.
        events: the events that they were made from.
        seed: draws the sample.

    Returns:
        How many rows, and values, were compared.

    Raises:
        LeakageError: a value differs; it names the file, the column and the row.
        ConfigError: a family of the shop's own raises.
    """
    counts = {"rows_recomputed": 0, "values_recomputed": 0}
    for split, table in tables.items():
        rng = np.random.default_rng([seed, len(table)])
        rows = np.sort(rng.choice(len(table), size=min(ROWS, len(table)), replace=False))
        for row in table[rows].with_columns(pl.col("anchor").dt.epoch("us")).iter_rows(named=True):
            of = _events_of(entity, row, events)
            where = f"tasks/{name}/examples/{split}.parquet"
            _check_label(where, label, row, of)
            for family in families:
                counts["values_recomputed"] += _check_family(where, family, entity, row, of, events)
        counts["rows_recomputed"] += len(rows)
    return counts


def audit_columns(
    name: str, table: pl.DataFrame, columns: Sequence[Column], *, always_known: Collection[str] = (), is_table: bool = False
) -> Audited:
    """Look for the label in every column that the shop brought.

    Args:
        name: of the task, for messages.
        table: examples with ``label``.
        columns: the columns to look at; lists and vectors are taken apart.
        always_known: those whose values have no time.
        is_table: whether they are the columns of a table that brings its own labels.

    Raises:
        LeakageError: a column is the label under another name, or tells it almost perfectly.
    """
    findings, looked_at = find_in_own_columns(table, columns, always_known)
    what = "its column" if is_table else "the feature"
    for finding in findings:
        if finding.is_leak:
            raise LeakageError(
                f"[tasks.{name}], {what} {finding.column!r}: {finding.found}",
                f"Name {finding.column!r} in leave_out." if is_table else finding.fix,
            )
    warnings = [f"{what.capitalize()} {finding.column!r} is suspect ({finding.check}): {finding.found}" for finding in findings]
    return Audited({"columns_against_the_label": looked_at}, [f"{warning} {_JUDGE}" for warning in warnings])


_JUDGE: Final = "Find out whether it is known when the question is asked; if it is written with the outcome, leave it out."


def past_of(owner: Owner, entity: Entity, row: Mapping[str, Any], of: Sequence[Event], events: PlainEvents) -> Past:
    """Return what a family may look at for one example: its own events and any item's, strictly before the anchor."""
    anchor = row["anchor"]
    name = row[KEY] if entity is Entity.SESSION and owner is Owner.SHOPPER else row["entity"]
    before = [event for event in of if event.time < anchor]
    ahead = row.get(AHEAD, 0)
    return Past(name, anchor, before, lambda item: [event for event in events.of("item", item) if event.time < anchor], ahead)


def _events_of(entity: Entity, row: Mapping[str, Any], events: PlainEvents) -> list[Event]:
    if entity is Entity.ITEM:
        return events.of("item", row["entity"])
    return events.of("user", row[KEY] if entity is Entity.SESSION else row["entity"])


def _check_label(where: str, label: Label, row: Mapping[str, Any], of: Sequence[Event]) -> None:
    anchor = row["anchor"]
    future = [event for event in of if event.time >= anchor]
    again = label.recompute(Future(row["entity"], anchor, future, row.get(AHEAD, 0)))
    if not equal_values(row["label"], again):
        raise LeakageError(
            f"{where}, column label: {row['entity']!r} at {iso(anchor)} has {row['label']!r}, but its events from then on give {again!r}.",
            "Let the label look at nothing before the anchor, and let of and recompute agree.",
        )


def _check_family(
    where: str, family: FeatureFamily, entity: Entity, row: Mapping[str, Any], of: Sequence[Event], events: PlainEvents
) -> int:
    past = past_of(family.owner, entity, row, of, events)
    again = recomputed(family, past)
    for column in family.columns:
        found, expected = row[column.name], again.get(column.name)
        if not equal_values(found, expected):
            raise LeakageError(
                f"{where}, column {column.name}: {row['entity']!r} at {iso(past.anchor)} has {found!r}, but the events before then give "
                f"{expected!r} (feature family {family.name!r}).",
                OWN_FIX,
            )
    return len(family.columns)


def recomputed(family: FeatureFamily, past: Past) -> Mapping[str, Any]:
    """Return what a family recomputes.

    Raises:
        ConfigError: it raises.
    """
    try:
        return family.recompute(past)
    except Exception as error:
        raise ConfigError(
            f"The feature family {family.name!r} raised {described(error)} in recompute.", "Correct it; nothing was written."
        ) from error


def equal_values(found: Any, expected: Any) -> bool:
    """Return whether a value and its recomputation are one, within the precision of 32-bit floats; empty lists and None are not."""
    if isinstance(found, (list, tuple)) or isinstance(expected, (list, tuple)):
        same_kind = isinstance(found, (list, tuple)) and isinstance(expected, (list, tuple)) and len(found) == len(expected)
        return same_kind and all(equal_values(a, b) for a, b in zip(found, expected, strict=True))
    if isinstance(found, float) and isinstance(expected, (int, float)):
        return math.isclose(found, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(found == expected)
