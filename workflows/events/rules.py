"""The rules that a row must keep, as expressions on raw events: what is wrong with it, and its values in their proper types."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Final

import polars as pl

from workflows.events.instants import UTC, clock_change, local_time, parse_instant
from workflows.events.numbers import NUMBERS, parse_number
from workflows.events.plausible import in_another_unit
from workflows.events.reasons import (
    BAD_DWELL as BAD_DWELL,
)
from workflows.events.reasons import (
    BAD_PRICE as BAD_PRICE,
)
from workflows.events.reasons import (
    BAD_QUANTITY as BAD_QUANTITY,
)
from workflows.events.reasons import (
    BAD_RATING as BAD_RATING,
)
from workflows.events.reasons import (
    DUPLICATE as DUPLICATE,
)
from workflows.events.reasons import (
    FUTURE_TIME as FUTURE_TIME,
)
from workflows.events.reasons import (
    MISSING_ITEM as MISSING_ITEM,
)
from workflows.events.reasons import (
    MISSING_TIME as MISSING_TIME,
)
from workflows.events.reasons import (
    MISSING_USER as MISSING_USER,
)
from workflows.events.reasons import (
    NEGATIVE_PRICE as NEGATIVE_PRICE,
)
from workflows.events.reasons import (
    NON_FINITE_PRICE as NON_FINITE_PRICE,
)
from workflows.events.reasons import (
    OTHER_UNIT as OTHER_UNIT,
)
from workflows.events.reasons import (
    UNKNOWN_TYPE as UNKNOWN_TYPE,
)
from workflows.events.reasons import (
    UNPARSEABLE_TIME as UNPARSEABLE_TIME,
)
from workflows.events.schema import ASIDE, EVENT_TYPES, FILE, FLAW, REFUND

REASON: Final = "_reason"
"""Column of checked rows: why the row is refused, or null."""
RAW_PREFIX: Final = "_raw_"
"""Checked rows keep the text of a parsed column under this prefix, for the quarantine."""
CLOCK: Final = "_clock"
"""Column of checked rows: whether the local time of the row came twice or never (see ``workflows.events.instants``), else null."""
PARSED: Final = ("timestamp", "price", "quantity")
"""Columns whose text is parsed."""
OWN_NUMBERS: Final = ("rating", "dwell_seconds")
"""Own columns whose text is parsed, where the log has them: the stars of a rating, and how long a page was looked at."""


def check(
    events: pl.LazyFrame,
    *,
    timestamp_formats: tuple[str, ...],
    zone: str,
    files_with_comma: Collection[str],
    text_numbers: Collection[str],
    until: dt.datetime,
    anonymous_baskets: bool,
    extra_types: Collection[str] = (),
) -> pl.LazyFrame:
    """Parse the values of raw events and say of each row why it is refused, if it is.

    Args:
        events: raw events, as of ``workflows.events.sources.base.Source.scan``.
        timestamp_formats: what ``parse_instant`` should try.
        zone: IANA name of the zone of times without an offset.
        files_with_comma: names of the files whose numbers have a decimal comma.
        text_numbers: columns of numbers that the files hold as text; others have a point, whatever the file.
        until: instants at or after this one lie in the future.
        anonymous_baskets: whether a row without user but with a session is sound.
        extra_types: event types that are known beside ``EVENT_TYPES``.

    Returns:
        ``events`` with the columns ``PARSED`` in the types of ``EVENT_SCHEMA`` and ``OWN_NUMBERS`` as Float64, their text under
        ``RAW_PREFIX``, ``CLOCK`` and ``REASON``. A row that breaks several rules gets the reason of the first.
    """
    own = [column for column, dtype in events.collect_schema().items() if column in OWN_NUMBERS and dtype == pl.String]
    raw = [pl.col(column).alias(RAW_PREFIX + column) for column in (*PARSED, *own)]
    stamp = pl.col(RAW_PREFIX + "timestamp")
    comma = pl.col(FILE).is_in(list(files_with_comma)) if files_with_comma else pl.lit(value=False)
    point = pl.lit(value=False)
    nothing = pl.lit(None, pl.String)
    parsed = (
        events.with_columns(*raw)
        .with_columns(
            parse_instant(stamp, timestamp_formats, zone).alias("timestamp"),
            *(
                parse_number(pl.col(RAW_PREFIX + column), comma if column in text_numbers else point).alias(column)
                for column in NUMBERS
            ),
            *(parse_number(pl.col(RAW_PREFIX + column), comma).alias(column) for column in own),
            (nothing if zone == UTC else clock_change(local_time(stamp, timestamp_formats), zone)).alias(CLOCK),
        )
        .with_columns(
            pl.when(pl.col("event_type") == REFUND).then(pl.col("quantity").abs()).otherwise("quantity").alias("quantity")
        )
    )
    return parsed.with_columns(
        _reason(until, timestamp_formats, (*EVENT_TYPES, *extra_types), own, anonymous_baskets=anonymous_baskets).alias(REASON)
    ).drop(FLAW, ASIDE)


def _reason(
    until: dt.datetime,
    timestamp_formats: tuple[str, ...],
    event_types: tuple[str, ...],
    own: Collection[str],
    *,
    anonymous_baskets: bool,
) -> pl.Expr:
    no_user = pl.col("user_id").is_null()
    if anonymous_baskets:
        no_user = no_user & pl.col("session_id").is_null()
    price, quantity = pl.col("price"), pl.col("quantity")
    rules = (
        (no_user, MISSING_USER),
        (pl.col("item_id").is_null(), MISSING_ITEM),
        (pl.col(RAW_PREFIX + "timestamp").is_null(), MISSING_TIME),
        (in_another_unit(pl.col(RAW_PREFIX + "timestamp"), timestamp_formats, until), OTHER_UNIT),
        (pl.col("timestamp").is_null(), UNPARSEABLE_TIME),
        (pl.col("timestamp") >= pl.lit(until), FUTURE_TIME),
        (~pl.col("event_type").is_in(event_types).fill_null(value=False), UNKNOWN_TYPE),
        (price.is_null() & pl.col(RAW_PREFIX + "price").is_not_null(), BAD_PRICE),
        (price.is_not_null() & ~price.is_finite(), NON_FINITE_PRICE),
        (price < 0.0, NEGATIVE_PRICE),
        (pl.col(RAW_PREFIX + "quantity").is_not_null() & ~_positive(quantity), BAD_QUANTITY),
    )
    sound = {
        "rating": pl.col("rating").is_finite().fill_null(value=False),
        "dwell_seconds": _not_negative(pl.col("dwell_seconds")),
    }
    reasons = {"rating": BAD_RATING, "dwell_seconds": BAD_DWELL}
    told = [(pl.col(RAW_PREFIX + name).is_not_null() & ~sound[name], reasons[name]) for name in own]
    broken = [pl.when(rule).then(pl.lit(reason)) for rule, reason in (*rules, *told)]
    return pl.coalesce(pl.col(FLAW), *broken, pl.col(ASIDE))


def _not_negative(number: pl.Expr) -> pl.Expr:
    return (number.is_finite() & (number >= 0)).fill_null(value=False)


def _positive(number: pl.Expr) -> pl.Expr:
    return (number.is_finite() & (number > 0)).fill_null(value=False)
