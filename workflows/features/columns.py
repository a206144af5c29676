"""The feature columns that pass from room to room, in their fixed order.

Names are those of the raw features; an encoded feature keeps its name. See ``workflows.features.shopper``, ``workflows.features.item`` and
``workflows.features.pair`` for what each one means.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from workflows.features.column import CATEGORICAL, CONTINUOUS, LISTS, Column, Kind, Owner

COLUMNS: Final = (
    Column("user_id", Owner.SHOPPER, Kind.ID, "the shopper", min_events=2),
    Column("hour", Owner.MOMENT, Kind.CALENDAR, "hour of the day, UTC"),
    Column("weekday", Owner.MOMENT, Kind.CALENDAR, "day of the week"),
    Column("user_events", Owner.SHOPPER, Kind.COUNT, "interactions so far"),
    Column("user_views", Owner.SHOPPER, Kind.COUNT, "views so far"),
    Column("user_carts", Owner.SHOPPER, Kind.COUNT, "additions to the cart so far"),
    Column("user_purchases", Owner.SHOPPER, Kind.COUNT, "purchases so far"),
    Column("user_recency_hours", Owner.SHOPPER, Kind.AMOUNT, "hours since the last interaction"),
    Column("user_mean_price", Owner.SHOPPER, Kind.AMOUNT, "mean price of the items seen"),
    Column("session_events", Owner.SESSION, Kind.COUNT, "interactions of the session"),
    Column("session_minutes", Owner.SESSION, Kind.COUNT, "minutes since the session began"),
    Column("recent_items", Owner.SHOPPER, Kind.ID_LIST, "the last items", vocabulary="item_id"),
    Column("recent_categories", Owner.SHOPPER, Kind.ID_LIST, "their categories", vocabulary="item_category"),
    Column("recent_brands", Owner.SHOPPER, Kind.ID_LIST, "their brands", vocabulary="item_brand"),
    Column("item_id", Owner.ITEM, Kind.ID, "the item", min_events=2),
    Column("item_category", Owner.ITEM, Kind.CATEGORY, "its category"),
    Column("item_brand", Owner.ITEM, Kind.CATEGORY, "its brand"),
    Column("item_price", Owner.ITEM, Kind.AMOUNT, "its last price"),
    Column("item_price_ratio", Owner.ITEM, Kind.RATIO, "its price beside the mean of its category"),
    Column("item_recent_events", Owner.ITEM, Kind.COUNT, "its interactions of the last days"),
    Column("item_events", Owner.ITEM, Kind.COUNT, "its interactions so far"),
    Column("item_purchases", Owner.ITEM, Kind.COUNT, "its purchases so far"),
    Column("item_age_days", Owner.ITEM, Kind.COUNT, "days since it was first seen"),
    Column("category_affinity", Owner.PAIR, Kind.NUMBER, "share of the recent items that are of the category", fill=0.0),
    Column("brand_affinity", Owner.PAIR, Kind.NUMBER, "share of the recent items that are of the brand", fill=0.0),
    Column("price_gap", Owner.PAIR, Kind.NUMBER, "log of the price beside the mean price of the shopper", fill=0.0),
    Column("cart_lines", Owner.CART, Kind.COUNT, "lines of the cart"),
    Column("cart_value", Owner.CART, Kind.COUNT, "value of the cart"),
)
"""The built-in columns of the recommender, each declared once; every name below follows from them."""


def _names(owners: Collection[Owner], kinds: Collection[Kind]) -> tuple[str, ...]:
    return tuple(column.name for column in COLUMNS if column.owner in owners and column.kind in kinds)


_QUERY: Final = (Owner.SHOPPER, Owner.MOMENT, Owner.SESSION)
QUERY_CATEGORICAL: Final = _names(_QUERY, CATEGORICAL)
QUERY_CONTINUOUS: Final = _names(_QUERY, CONTINUOUS)
QUERY_LISTS: Final = _names(_QUERY, LISTS)
ITEM_CATEGORICAL: Final = _names((Owner.ITEM,), CATEGORICAL)
ITEM_CONTINUOUS: Final = _names((Owner.ITEM,), CONTINUOUS)
RESERVED: Final = frozenset(
    {
        "anchor", "cart_id", "cart_items", "cart_label", "entity", "example_id", "form", "given_items", "label", "last_seen", "left_out",
        "left_out_times", "priced_events", "session_start", "target_items", "timestamp", "user_key",
    }
)  # fmt: skip
"""Names of columns, in tables of examples and of the snapshot, that are no features."""
CROSS: Final = _names((Owner.PAIR,), CONTINUOUS)
CART: Final = _names((Owner.CART,), CONTINUOUS)

COUNTED_KINDS: Final = {"user_views": "view", "user_carts": "cart", "user_purchases": "purchase"}
"""A column that counts the shopper's events of one type -> that type."""

FORMS: Final = ("stranger", "stranger with recent items", "known user", "known user with recent items")
"""What a request can look like: its place is 2 where the user is known, and 1 more where recent items are given."""

ONE_LINE: Final = "one line"
SEVERAL_LINES: Final = "several lines"
SIZES: Final = (ONE_LINE, SEVERAL_LINES)
"""What the cart of a request can look like: its place is 1 where it has several distinct lines."""

CALENDAR: Final = _names(_QUERY, (Kind.CALENDAR,))
"""Raw columns that hold whole numbers."""

QUERY: Final = QUERY_CATEGORICAL + QUERY_CONTINUOUS + QUERY_LISTS
QUERY_SCALARS: Final = QUERY_CATEGORICAL + QUERY_CONTINUOUS
ITEM: Final = ITEM_CATEGORICAL + ITEM_CONTINUOUS

STRINGS: Final = tuple(column.name for column in COLUMNS if column.kind in (Kind.ID, Kind.CATEGORY, *LISTS))
"""Raw columns that hold strings (or lists of them); the empty string means "missing"."""

SHARED_VOCABULARY: Final = {column.name: column.vocabulary for column in COLUMNS if column.vocabulary}
"""A list column -> the column whose ids, and so whose embedding, it shares."""
