"""The feature columns that pass from room to room, in their fixed order.

Names are those of the raw features; an encoded feature keeps its name. See ``workflows.features.shopper``, ``workflows.features.item`` and
``workflows.features.pair`` for what each one means.
"""

from __future__ import annotations

from typing import Final

QUERY_CATEGORICAL: Final = ("user_id", "hour", "weekday")
QUERY_CONTINUOUS: Final = (
    "user_events",
    "user_views",
    "user_carts",
    "user_purchases",
    "user_recency_hours",
    "user_mean_price",
    "session_events",
    "session_minutes",
)
QUERY_LISTS: Final = ("recent_items", "recent_categories", "recent_brands")
ITEM_CATEGORICAL: Final = ("item_id", "item_category", "item_brand")
ITEM_CONTINUOUS: Final = (
    "item_price",
    "item_price_ratio",
    "item_recent_events",
    "item_events",
    "item_purchases",
    "item_age_days",
)
CROSS: Final = ("category_affinity", "brand_affinity", "price_gap")
CART: Final = ("cart_lines", "cart_value")

COUNTED_KINDS: Final = {"user_views": "view", "user_carts": "cart", "user_purchases": "purchase"}
"""A column that counts the shopper's events of one type -> that type."""

FORMS: Final = ("stranger", "stranger with recent items", "known user", "known user with recent items")
"""What a request can look like: its place is 2 where the user is known, and 1 more where recent items are given."""

ONE_LINE: Final = "one line"
SEVERAL_LINES: Final = "several lines"
SIZES: Final = (ONE_LINE, SEVERAL_LINES)
"""What the cart of a request can look like: its place is 1 where it has several distinct lines."""

CALENDAR: Final = ("hour", "weekday")
"""Raw columns that hold whole numbers."""

QUERY: Final = QUERY_CATEGORICAL + QUERY_CONTINUOUS + QUERY_LISTS
QUERY_SCALARS: Final = QUERY_CATEGORICAL + QUERY_CONTINUOUS
ITEM: Final = ITEM_CATEGORICAL + ITEM_CONTINUOUS

STRINGS: Final = ("user_id", "item_id", "item_category", "item_brand", *QUERY_LISTS)
"""Raw columns that hold strings (or lists of them); the empty string means "missing"."""

SHARED_VOCABULARY: Final = {"recent_items": "item_id", "recent_categories": "item_category", "recent_brands": "item_brand"}
"""A list column -> the column whose ids, and so whose embedding, it shares."""
