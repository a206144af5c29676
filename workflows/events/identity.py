"""Joins visitors to customers: from the login on, an event of the visitor belongs to the customer.

The log gives an event one shopper. So that no example knows who a visitor was before anybody did, events from before the login stay the
visitor's, unless the settings give them to the customer, of which the run then warns.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import polars as pl

from cartwheel.core.errors import DataError
from cartwheel.core.files import atomic_path
from cartwheel.core.run_layout import EventsLayout
from workflows.events.schema import EventSummary
from workflows.events.side_tables import KEY, REASON, VALID_FROM, checked_rows, quarantined, refuse_if_too_bad
from workflows.events.tidy import Tidy
from workflows.events.validate import all_integers
from workflows.settings import IDENTITY, TableSettings

VISITOR: Final = "visitor_id"
"""Own column of the events that keeps the id that they came with; also the key of the table, where it is not named."""
_CUSTOMER: Final = "customer"
_ROW: Final = "_row"
_NO_CUSTOMER: Final = "missing customer"
_SHOWN: Final = 3


def join_identity(layout: EventsLayout, summary: EventSummary, settings: TableSettings) -> EventSummary:
    """Give events of known visitors the customer's id; the id that they came with stays in the own column ``visitor_id``.

    A visitor is the ``user_id`` of an event, or the session of one without. With ``valid_from`` an event belongs to the last customer that
    was valid at its instant; without it to the one there is, whenever it happened.

    Args:
        layout: the checked events, which are rewritten in place, in the same order.
        summary: what was found when they were checked.
        settings: ``[tables.identity]``.

    Returns:
        The summary of the events as they are now, which is also written.

    Raises:
        ConfigError, DataError: as ``workflows.events.side_tables.check_table``.
    """
    logins = _logins(settings, layout)
    events = pl.scan_parquet(layout.events, glob=False)
    visits = events.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias(_ROW), pl.coalesce("user_id", "session_id").alias(KEY), "timestamp"
    )
    known = (
        visits.join(logins.lazy().select(KEY).unique(), on=KEY, how="semi").collect(engine="streaming").sort("timestamp", _ROW)
    )
    if known.is_empty():
        shown = ", ".join(repr(key) for key in logins[KEY].unique().sort().head(_SHOWN))
        raise DataError(
            f"tables.{IDENTITY}: none of its {logins[KEY].n_unique():,} visitors ({shown}) has an event, so it joins nothing.",
            f"Set tables.{IDENTITY}.key to the column that holds what the events have as user_id or session_id.",
        )
    found = _customers(known, logins, settings)
    if found.is_empty():
        raise DataError(
            f"tables.{IDENTITY}: every valid_from lies after the last event of its visitor, so no event is one of a customer.",
            f"Give tables.{IDENTITY}.valid_from the column with the instants of the logins.",
        )
    own = [name for name in events.collect_schema().names() if name != VISITOR]
    joined = events.with_row_index(_ROW).join(found.lazy(), on=_ROW, how="left", maintain_order="left")
    with atomic_path(layout.events) as aside:
        joined.select(
            *(pl.coalesce(_CUSTOMER, "user_id").alias("user_id") if name == "user_id" else pl.col(name) for name in own),
            pl.coalesce("user_id", "session_id").alias(VISITOR),
        ).sink_parquet(aside, engine="streaming", maintain_order=True)
    return _told(layout, summary, settings, known, found)


def _logins(settings: TableSettings, layout: EventsLayout) -> pl.DataFrame:
    """Return ``KEY`` (the visitor), ``VALID_FROM`` and the customer of the sound rows."""
    asked = settings.model_copy(
        update={"key": settings.key or VISITOR, "columns": {**settings.columns, _CUSTOMER: settings.customer}}
    )
    rows = checked_rows(IDENTITY, asked, "user")
    customer = Tidy.of(settings.as_source()).of_name(pl.col(_CUSTOMER).cast(pl.String, strict=False))
    rows = rows.with_columns(customer.alias(_CUSTOMER))
    missing = pl.when(pl.col(REASON).is_null() & pl.col(_CUSTOMER).is_null()).then(pl.lit(_NO_CUSTOMER))
    rows = rows.with_columns(pl.coalesce(REASON, missing).alias(REASON))
    refused = rows.filter(pl.col(REASON).is_not_null())
    with atomic_path(layout.identity_quarantine) as aside:
        quarantined(refused, [_CUSTOMER]).write_parquet(aside)
    reasons = {str(reason): int(count) for reason, count in refused[REASON].value_counts(sort=True).iter_rows()}
    refuse_if_too_bad(IDENTITY, settings, rows.height, reasons, refused, layout.identity_quarantine)
    return rows.filter(pl.col(REASON).is_null()).select(KEY, VALID_FROM, _CUSTOMER).sort(VALID_FROM, KEY)


def _customers(known: pl.DataFrame, logins: pl.DataFrame, settings: TableSettings) -> pl.DataFrame:
    """Return the row and customer of each event that has one."""
    if settings.valid_from is None:
        return known.join(logins, on=KEY).select(_ROW, _CUSTOMER)
    at_login = known.join_asof(logins, left_on="timestamp", right_on=VALID_FROM, by=KEY, check_sortedness=False)
    if settings.before_login == "customer":
        first = logins.group_by(KEY, maintain_order=True).agg(pl.col(_CUSTOMER).first().alias("_first"))
        at_login = at_login.join(first, on=KEY, how="left").with_columns(pl.coalesce(_CUSTOMER, "_first").alias(_CUSTOMER))
    return at_login.filter(pl.col(_CUSTOMER).is_not_null()).select(_ROW, _CUSTOMER)


def _told(
    layout: EventsLayout, summary: EventSummary, settings: TableSettings, known: pl.DataFrame, found: pl.DataFrame
) -> EventSummary:
    events = pl.scan_parquet(layout.events, glob=False)
    users, integers = (
        events.select(pl.col("user_id").drop_nulls().n_unique(), all_integers("user_id").alias("integers"))
        .collect(engine="streaming")
        .row(0)
    )
    what = f"tables.{IDENTITY}: {len(found):,} events of {known[KEY].n_unique():,} visitors"
    if settings.valid_from is None:
        told = f"{what} are their customers', also from before the login, for without valid_from it is always known who a visitor is."
    elif settings.before_login == "customer":
        told = f"{what} are their customers', also from before the login, so examples from then know what nobody knew."
    else:
        told = (
            f"{what} are their customers' from the login on; the {len(known) - len(found):,} from before it stay the visitors', and no "
            "feature of a customer sees them."
        )
    joined = dataclasses.replace(
        summary,
        users=users,
        own_columns=(*(name for name in summary.own_columns if name != VISITOR), VISITOR),
        id_types={**summary.id_types, "user_id": summary.id_types["user_id"] if integers else "string"},
        remarks=(*summary.remarks, told),
    )
    joined.write(layout.summary)
    return joined
