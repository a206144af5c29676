"""The canonical event: the output of every source and the input of everything after.

One row is one thing that a shopper did to one item at one instant. Beside the columns of ``EVENT_SCHEMA`` a log may carry the
shop's own columns, which pass through untouched.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.files import write_json
from workflows.events.kinds import (
    ADD_TO_WISHLIST as ADD_TO_WISHLIST,
)
from workflows.events.kinds import (
    CART as CART,
)
from workflows.events.kinds import (
    CLICK as CLICK,
)
from workflows.events.kinds import (
    EVENT_TYPES as EVENT_TYPES,
)
from workflows.events.kinds import (
    EXPOSURE as EXPOSURE,
)
from workflows.events.kinds import (
    IMPRESSION as IMPRESSION,
)
from workflows.events.kinds import (
    PURCHASE as PURCHASE,
)
from workflows.events.kinds import (
    RATING as RATING,
)
from workflows.events.kinds import (
    REFUND as REFUND,
)
from workflows.events.kinds import (
    REMOVE_FROM_CART as REMOVE_FROM_CART,
)
from workflows.events.kinds import (
    REVIEW as REVIEW,
)
from workflows.events.kinds import (
    SEARCH as SEARCH,
)
from workflows.events.kinds import (
    VIEW as VIEW,
)

EVENT_SCHEMA: Final = pl.Schema(
    {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "event_type": pl.String(),
        "timestamp": pl.Datetime("us", "UTC"),
        "session_id": pl.String(),
        "category": pl.String(),
        "brand": pl.String(),
        "price": pl.Float64(),
        "quantity": pl.Float64(),
    }
)
"""Columns of ``events.parquet`` in order; ``user_id`` is null only where ``session_id`` names an anonymous basket."""

CANONICAL: Final = tuple(EVENT_SCHEMA)
"""Names of the canonical columns, in order."""

ORIGINAL: Final = "_original"
"""Raw events: a struct of the text of each cell that was tidied (see ``workflows.events.tidy``), as the file has it; null where none
was."""
FILE: Final = "_file"
"""Raw events: name of the file that the row came from, relative to the folder or glob that was asked for."""
ROW: Final = "_row"
"""Raw events: number of the data row within its file; the first row after the header is 1."""
FLAW: Final = "_flaw"
"""Raw events: what the reader found wrong with the row as a whole, or null."""
ASIDE: Final = "_aside"
"""Raw events: why a sound row is no event of a shopper (a fee, a voucher booking), or null."""

DUPLICATE_KEY: Final = ("user_id", "item_id", "event_type", "timestamp", "session_id")
"""Rows that agree in all of these may be one event, told twice, unless the source says otherwise; see ``workflows.events.repeats``."""


@dataclasses.dataclass(frozen=True)
class EventSummary:
    """What ``check_events`` found; the content of ``summary.json``."""

    source: str
    """Kind of the source."""
    rows: int
    """Rows kept, which is the height of ``events.parquet``."""
    rows_read: int
    """Rows in the files: ``rows + merged + quarantined``."""
    merged: int
    """Rows that repeat a kept one and are part of its quantity (``events.repeats``)."""
    quarantined: int
    """Rows of ``quarantine.parquet``, those set aside included."""
    set_aside: int
    """Rows that hold nothing, and sound ones that are no events of a shopper (bookkeeping); quarantined, but not bad."""
    bad_share: float
    """``(quarantined - set_aside) / rows_read``."""
    reasons: dict[str, int]
    """Reason -> rows quarantined for it."""
    first: str
    """Instant of the first event kept, ISO 8601 in UTC."""
    last: str
    """Instant of the last event kept, ISO 8601 in UTC."""
    event_types: dict[str, int]
    """Event type -> rows kept."""
    users: int
    """Distinct users among the rows kept; anonymous baskets do not count."""
    items: int
    """Distinct items among the rows kept."""
    files: tuple[str, ...]
    """Names of the files read, in the order read."""
    id_types: dict[str, str]
    """``user_id`` and ``item_id`` -> ``int64`` where every id was an integer, else ``string``: the type to give ids back in."""
    own_columns: tuple[str, ...]
    """The shop's own columns of ``events.parquet``, after the canonical ones."""
    remarks: tuple[str, ...]
    """What was done to cells or is odd about them, a sentence each: values tidied, ids that differ in case alone, hours that come twice."""

    def write(self, target: Path) -> None:
        """Write the summary as JSON to ``target``, atomically."""
        write_json(target, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain JSON values."""
        return dataclasses.asdict(self)
