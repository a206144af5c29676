"""The rules of a shop over the items of one export: which items an answer may hold, and how it is arranged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import UsageError
from serving.contract.items import FILE, VECTORS, ItemTable, read_directions
from serving.rules.arrange import Arrangement
from serving.rules.assortment import BRAND, CATEGORY, Assortment
from serving.rules.expression import Bools
from serving.rules.rules import Rules, ShopRules

POOL: Final = 50
"""Least number of candidates that an answer is arranged from, and four times what is asked."""


class Book:
    """Rules over items.

    Args:
        repository: the export.
        shop: the rules of every answer.
        max_k: the most items of one answer before it is arranged.

    Raises:
        UsageError: if a rule of the shop does not fit the items.
        RunError: if a file of the export cannot be read.
    """

    def __init__(self, repository: Path, shop: ShopRules, max_k: int) -> None:
        self.assortment = Assortment(ItemTable.read(repository / FILE))
        self.max_k = max_k
        self._vectors_file = repository / VECTORS
        self._directions: npt.NDArray[np.float16] | None = None
        self.assortment.check(shop)
        self._shop = shop
        self._default = Rules().within(shop)

    def effective(self, rules: Rules | None) -> Rules:
        """Return the rules of a request together with those of the shop."""
        return self._default if rules is None else rules.within(self._shop)

    def barred(self, rules: Rules, passing: Bools, cart: Sequence[str] = ()) -> Bools:
        """Return which items an answer must not hold, bool [N].

        Args:
            rules: with those of the shop.
            passing: what they let pass.
            cart: what is in the cart beside what they name.
        """
        barred = ~passing
        held = (self.assortment.place(item) for item in (*rules.cart_items, *cart))
        barred[[place for place in held if place is not None]] = True
        return barred

    def arrangement(self, rules: Rules, barred: Bools, k: int, excluded: Sequence[str] = ()) -> Arrangement:
        """Return how an answer is arranged.

        Args:
            rules: with those of the shop.
            barred: from :meth:`barred`.
            k: its length.
            excluded: items that must not be answered besides.

        Raises:
            UsageError: if a pinned item is none of the catalogue.
        """
        shelf = self.assortment
        caps = [(CATEGORY, rules.max_per_category), (BRAND, rules.max_per_brand)]
        out = {shelf.place(item) for item in excluded}
        pins = {pin.position - 1: self._pinned(pin.item_id) for pin in rules.pinned}
        return Arrangement(
            k=k,
            barred=barred,
            caps=[(shelf.groups(name), most) for name, most in caps if most],
            pins={at: place for at, place in pins.items() if at < k and not barred[place] and place not in out},
            promoted=[(shelf.matching(each.where), each.share) for each in rules.promoted],
            variety=rules.variety,
            pool=min(self.max_k, max(POOL, 4 * k)),
            directions=self._of_length_1 if rules.variety else None,
        )

    def _of_length_1(self, places: Sequence[int]) -> npt.NDArray[np.float16]:
        if self._directions is None:
            self._directions = read_directions(self._vectors_file, self.assortment.count)
        found: npt.NDArray[np.float16] = self._directions[np.asarray(places)]
        return found

    def _pinned(self, item: str) -> int:
        place = self.assortment.place(item)
        if place is None:
            raise UsageError(
                f"rules.pinned names the item {item!r}, which the catalogue does not have.", "Pin an item of the catalogue."
            )
        return place
