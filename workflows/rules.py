"""The rules that a row must keep, as expressions on raw events: what is wrong with it, and its values in their proper types."""

from __future__ import annotations

import datetime as dt
from typing import Final

import polars as pl

from workflows.events import ASIDE, EVENT_TYPES, FLAW, REFUND
from workflows.instants import parse_instant

MISSING_USER: Final = "missing user_id"
MISSING_ITEM: Final = "missing item_id"
MISSING_TIME: Final = "missing time"
UNPARSEABLE_TIME: Final = "unparseable time"
FUTURE_TIME: Final = "future time"
UNKNOWN_TYPE: Final = "unknown event type"
BAD_PRICE: Final = "price is not a number"
NON_FINITE_PRICE: Final = "non-finite price"
NEGATIVE_PRICE: Final = "negative price"
BAD_QUANTITY: Final = "quantity is not a positive whole number"
DUPLICATE: Final = "duplicate"

REASON: Final = "_reason"
"""Column of checked rows: why the row is refused, or null."""
RAW_PREFIX: Final = "_raw_"
"""Checked rows keep the text of a parsed column under this prefix, for the quarantine."""
PARSED: Final = ("timestamp", "price", "quantity")
"""Columns whose text is parsed."""

_TEXTS: Final = ("user_id", "item_id", "event_type", "session_id", "category", "brand")
_MAX_QUANTITY: Final = float(1 << 53)


def check(
    events: pl.LazyFrame, *, timestamp_formats: tuple[str, ...], until: dt.datetime, anonymous_baskets: bool
) -> pl.LazyFrame:
    """Parse the values of raw events and say of each row why it is refused, if it is.

    Args:
        events: raw events, as of ``workflows.sources.base.Source.scan``.
        timestamp_formats: what ``parse_instant`` should try.
        until: instants at or after this one lie in the future.
        anonymous_baskets: whether a row without user but with a session is sound.

    Returns:
        ``events`` with text that is blank made null, the columns ``PARSED`` in the types of ``EVENT_SCHEMA``, their text under
        ``RAW_PREFIX`` and ``REASON``. A row that breaks several rules gets the reason of the first.
    """
    texts = [_blank_to_null(pl.col(column)).alias(column) for column in _TEXTS]
    raw = [_blank_to_null(pl.col(column)).alias(RAW_PREFIX + column) for column in PARSED]
    quantity = _parse_quantity(pl.col(RAW_PREFIX + "quantity"))
    parsed = (
        events.with_columns(*texts, *raw)
        .with_columns(
            parse_instant(pl.col(RAW_PREFIX + "timestamp"), timestamp_formats).alias("timestamp"),
            pl.col(RAW_PREFIX + "price").str.strip_chars().cast(pl.Float64, strict=False).alias("price"),
            quantity.alias("quantity"),
        )
        .with_columns(
            pl.when(pl.col("event_type") == REFUND).then(pl.col("quantity").abs()).otherwise("quantity").alias("quantity")
        )
    )
    return parsed.with_columns(_reason(until, anonymous_baskets=anonymous_baskets).alias(REASON)).drop(FLAW, ASIDE)


def _reason(until: dt.datetime, *, anonymous_baskets: bool) -> pl.Expr:
    no_user = pl.col("user_id").is_null()
    if anonymous_baskets:
        no_user = no_user & pl.col("session_id").is_null()
    price, quantity = pl.col("price"), pl.col("quantity")
    rules = (
        (no_user, MISSING_USER),
        (pl.col("item_id").is_null(), MISSING_ITEM),
        (pl.col(RAW_PREFIX + "timestamp").is_null(), MISSING_TIME),
        (pl.col("timestamp").is_null(), UNPARSEABLE_TIME),
        (pl.col("timestamp") >= pl.lit(until), FUTURE_TIME),
        (~pl.col("event_type").is_in(EVENT_TYPES).fill_null(value=False), UNKNOWN_TYPE),
        (price.is_null() & pl.col(RAW_PREFIX + "price").is_not_null(), BAD_PRICE),
        (price.is_not_null() & ~price.is_finite(), NON_FINITE_PRICE),
        (price < 0.0, NEGATIVE_PRICE),
        (pl.col(RAW_PREFIX + "quantity").is_not_null() & (quantity.is_null() | (quantity <= 0)), BAD_QUANTITY),
    )
    broken = [pl.when(rule).then(pl.lit(reason)) for rule, reason in rules]
    return pl.coalesce(pl.col(FLAW), *broken, pl.col(ASIDE))


def _blank_to_null(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.strip_chars().str.len_bytes() > 0).then(text)


def _parse_quantity(text: pl.Expr) -> pl.Expr:
    number = text.str.strip_chars().cast(pl.Float64, strict=False)
    return pl.when(number.is_finite() & (number == number.round()) & (number.abs() <= _MAX_QUANTITY)).then(
        number.cast(pl.Int64, strict=False)
    )
