"""Price, stock and availability of items, as a shop sets them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from serving.gateway.gate import Gate
from serving.gateway.refusal import invalid
from serving.store.item_state import ItemState

SET_ITEMS: Final = "set_items"
"""What metrics and logs call it, in place of an ensemble."""
_MOST: Final = 10_000
_LONGEST: Final = 1_024


async def set_items(gate: Gate, given: Sequence[Mapping[str, Any]]) -> list[str]:
    """Set the state of items, and return those that the export does not know.

    Args:
        gate: what keeps it.
        given: ``item_id``, and of ``price``, ``stock`` and ``available`` what changes.

    Raises:
        RefusedError: if an item is wrong, and then nothing is set, or it cannot be kept.
    """
    if not 0 < len(given) <= _MOST:
        raise invalid(f"items holds {len(given):,} items; give 1 to {_MOST:,}.", "too_large")
    return list(await gate.set_items([_state(f"items[{place}]", item) for place, item in enumerate(given)]))


def _state(where: str, item: Mapping[str, Any]) -> ItemState:
    name = str(item.get("item_id", ""))
    if not name or len(name) > _LONGEST:
        raise invalid(f"{where}.item_id is {'empty' if not name else 'too long'}; give the id as the shop's event log writes it.")
    numbers = {field: float(item[field]) for field in ("price", "stock") if field in item}
    for field, value in numbers.items():
        if not (math.isfinite(value) and value >= 0):
            raise invalid(f"{where}.{field} is {value:g}; expected a number of at least 0.")
    if not numbers and "available" not in item:
        raise invalid(f"{where} changes nothing; give price, stock or available.")
    return ItemState(name, numbers.get("price"), numbers.get("stock"), item.get("available"))
