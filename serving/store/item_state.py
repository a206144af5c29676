"""Item state that a shop sets while it serves."""

from __future__ import annotations

from typing import NamedTuple


class ItemState(NamedTuple):
    """The state of one item; what is None stays as it was.

    Attributes:
        item_id: the item.
        price: what it costs now.
        stock: how many there are.
        available: whether it can be had.
    """

    item_id: str
    price: float | None = None
    stock: float | None = None
    available: bool | None = None
