"""Items for rules: the export's values, and those the shop has set since."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import UsageError
from serving.contract.items import ItemTable
from serving.rules.expression import Bools, Column, Expression, Texts
from serving.rules.rules import Rules, ShopRules
from serving.store.item_state import ItemState

PRICE, STOCK, AVAILABLE, DISCOUNT = "price", "stock", "available", "discount"
CATEGORY, BRAND = "category", "brand"
LIVE: Final = (PRICE, STOCK, AVAILABLE)
"""Columns that a shop sets while it serves."""
_KEPT_MASKS: Final = 64


class Assortment:
    """Evaluates rules over the items of one export.

    Args:
        table: what the export wrote.
    """

    def __init__(self, table: ItemTable) -> None:
        self.table = table
        self.count = len(table.ids)
        self._places = {text: place for place, text in enumerate(table.ids)}
        unknown = np.full(self.count, np.nan)
        self._live = {name: _numbers(table.columns.get(name), self.count).copy() for name in LIVE}
        self._usual = self._live[PRICE].copy()
        self._set_prices: tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]] | None = None
        self.columns: dict[str, Column] = {
            **{name: Texts(np.zeros(self.count, np.int32), ("",)) for name in (CATEGORY, BRAND)},
            **table.columns,
            "item_id": Texts(np.arange(1, self.count + 1, dtype=np.int32), ("", *table.ids)),
            **self._live,
            DISCOUNT: unknown.copy(),
        }
        self._reckon_discount()
        self._kept: OrderedDict[tuple[object, ...], Bools] = OrderedDict()

    def place(self, item: str) -> int | None:
        """Return the catalogue index of an item; None of one that the export does not know."""
        return self._places.get(item)

    def update(self, states: Sequence[ItemState]) -> tuple[str, ...]:
        """Set the state of items, and return those that the export does not know."""
        unknown = []
        for state in states:
            place = self._places.get(state.item_id)
            if place is None:
                unknown.append(state.item_id)
                continue
            for name in LIVE:
                value = getattr(state, name)
                if value is not None:
                    self._live[name][place] = float(value)
        if states:
            self._reckon_discount()
            self._kept.clear()
            self._set_prices = None
        return tuple(unknown)

    @property
    def set_prices(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The catalogue indices of items whose price is not that of the export, and what they cost."""
        if self._set_prices is None:
            now, before = self._live[PRICE], self._usual
            places = np.flatnonzero((now != before) & ~(np.isnan(now) & np.isnan(before)))
            self._set_prices = places.astype(np.int32), now[places].astype(np.float32)
        return self._set_prices

    def passing(self, rules: Rules) -> Bools:
        """Return which items may be answered, bool [N]; not to be changed.

        Raises:
            UsageError: if a filter names a column that there is not, or compares what cannot be compared.
        """
        key = (rules.where, rules.in_stock, rules.categories, rules.brands, rules.min_price, rules.max_price, rules.allow)
        return self._remembered(key, lambda: self._evaluated(rules))

    def matching(self, where: str, field: str = "promoted.where") -> Bools:
        """Return which items satisfy a filter, bool [N]; not to be changed. Raises as :meth:`passing`."""
        return self._remembered((field, where), lambda: Expression.parsed(where, field).passing(self.columns, self.count))

    def check(self, rules: ShopRules) -> None:
        """Hold the filters of rules against the columns that there are.

        Raises:
            UsageError: if one does not fit.
        """
        self.passing(Rules.model_validate(rules.model_dump()))
        for promotion in rules.promoted:
            self.matching(promotion.where)

    def violated(self, rules: Rules, place: int) -> tuple[str, ...]:
        """Return the rules that keep an item from being answered, each in a clause with what the item has."""
        found = [
            f"the filter `{clause.text}`"
            for clause in self._clauses(rules)
            if not clause.passing(self.columns, self.count)[place]
        ]
        price, stock, available = (self._live[name][place] for name in LIVE)
        if rules.in_stock and not self._in_stock()[place]:
            found.append("in_stock: it is not available" if available == 0 else f"in_stock: its stock is {stock:g}")
        for field, name in (("categories", CATEGORY), ("brands", BRAND)):
            if getattr(rules, field) and not self._named(rules, field, name)[place]:
                found.append(f"{field}: its {name} is {self.text(name, place)!r}")
        if rules.min_price is not None and not price >= rules.min_price:
            found.append(f"min_price {rules.min_price:g}: its price is {_price(price)}")
        if rules.max_price is not None and not price <= rules.max_price:
            found.append(f"max_price {rules.max_price:g}: its price is {_price(price)}")
        if rules.allow is not None and self.table.ids[place] not in set(rules.allow):
            found.append("allow: it is not among the items allowed")
        return tuple(found)

    def text(self, name: str, place: int) -> str:
        """Return the text of an item in a column of texts."""
        column = self.columns[name]
        return column.words[column.codes[place]] if isinstance(column, Texts) else ""

    def groups(self, name: str) -> npt.NDArray[np.int32]:
        """Return the group of each item by a column of texts, int32 [N]; 0 is none."""
        column = self.columns[name]
        assert isinstance(column, Texts)
        return column.codes

    def _clauses(self, rules: Rules) -> tuple[Expression, ...]:
        return Expression.parsed(rules.where).clauses() if rules.where else ()

    def _evaluated(self, rules: Rules) -> Bools:
        passing = Expression.parsed(rules.where).passing(self.columns, self.count) if rules.where else np.ones(self.count, bool)
        if rules.in_stock:
            passing &= self._in_stock()
        for field, name in (("categories", CATEGORY), ("brands", BRAND)):
            if getattr(rules, field):
                passing &= self._named(rules, field, name)
        if rules.min_price is not None:
            passing &= self._live[PRICE] >= rules.min_price
        if rules.max_price is not None:
            passing &= self._live[PRICE] <= rules.max_price
        if rules.allow is not None:
            allowed = np.zeros(self.count, bool)
            allowed[[place for item in rules.allow if (place := self._places.get(item)) is not None]] = True
            passing &= allowed
        return passing

    def _in_stock(self) -> Bools:
        gone: Bools = (self._live[STOCK] <= 0) | (self._live[AVAILABLE] == 0)
        return ~gone

    def _named(self, rules: Rules, field: str, name: str) -> Bools:
        column = self.columns[name]
        if not isinstance(column, Texts):
            raise UsageError(f"{field} needs items with a {name} in words.", f"Filter by `where`, over {name} as it is.")
        wanted = frozenset(getattr(rules, field))
        table = np.array([word in wanted for word in column.words], bool)
        found: Bools = table[column.codes]
        return found

    def _remembered(self, key: tuple[object, ...], evaluate: Callable[[], Bools]) -> Bools:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = evaluate()
        self._kept[key] = found
        if len(self._kept) > _KEPT_MASKS:
            self._kept.popitem(last=False)
        return found

    def _reckon_discount(self) -> None:
        with np.errstate(all="ignore"):
            found = 1 - self._live[PRICE] / self._usual
        self.columns[DISCOUNT] = np.where(np.isfinite(found), found, np.nan)


def _numbers(column: Column | None, count: int) -> npt.NDArray[np.float64]:
    """Return a column of numbers; of yes and no in words, 1 and 0; NaN where it is not known."""
    if column is None:
        return np.full(count, np.nan)
    if isinstance(column, Texts):
        table = np.array([_truth(word) for word in column.words])
        found: npt.NDArray[np.float64] = table[column.codes]
        return found
    return column if isinstance(column, np.ndarray) else np.full(count, np.nan)


_TRUTHS: Final[Mapping[str, float]] = {"true": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "0": 0.0}


def _truth(word: str) -> float:
    found = _TRUTHS.get(word.strip().lower())
    if found is not None:
        return found
    try:
        number = float(word)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _price(price: float) -> str:
    return "not known" if math.isnan(price) else f"{price:g}"
