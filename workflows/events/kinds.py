"""The types of events that every log may have; a module of its own, for the server reads it where Polars is not installed."""

from __future__ import annotations

from typing import Final

VIEW: Final = "view"
CART: Final = "cart"
REMOVE_FROM_CART: Final = "remove_from_cart"
PURCHASE: Final = "purchase"
REFUND: Final = "refund"
RATING: Final = "rating"
IMPRESSION: Final = "impression"
EXPOSURE: Final = "exposure"
SEARCH: Final = "search"
CLICK: Final = "click"
ADD_TO_WISHLIST: Final = "add_to_wishlist"
REVIEW: Final = "review"

EVENT_TYPES: Final = (
    IMPRESSION,
    EXPOSURE,
    SEARCH,
    CLICK,
    VIEW,
    ADD_TO_WISHLIST,
    CART,
    REMOVE_FROM_CART,
    PURCHASE,
    REFUND,
    RATING,
    REVIEW,
)
"""The event types that every log may have, in the order of the funnel; ``events.extra_types`` adds a shop's own."""
