"""Reasons for rejecting an event; a separate module, because the server uses it without Polars."""

from __future__ import annotations

from typing import Final

MISSING_USER: Final = "missing user_id"
MISSING_ITEM: Final = "missing item_id"
MISSING_TIME: Final = "missing time"
UNPARSEABLE_TIME: Final = "unparseable time"
OTHER_UNIT: Final = "time in another unit"
FUTURE_TIME: Final = "future time"
UNKNOWN_TYPE: Final = "unknown event type"
BAD_PRICE: Final = "price is not a number"
NON_FINITE_PRICE: Final = "non-finite price"
NEGATIVE_PRICE: Final = "negative price"
BAD_QUANTITY: Final = "quantity is not a positive number"
BAD_RATING: Final = "rating is not a number"
BAD_DWELL: Final = "dwell_seconds is not a number from 0 on"
DUPLICATE: Final = "duplicate"
