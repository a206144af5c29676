"""The rules of an answer: those of a shop (``[serve.rules]``) and those of a request, which tighten them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Optional, Union

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr, field_validator
from pydantic_core import PydanticCustomError

from cartwheel.core.errors import UsageError
from cartwheel.core.settings import Settings
from serving.rules.expression import Expression

MOST_IDS: Final = 100_000
_MOST_PLACES: Final = 1_000


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[StrictStr, BeforeValidator(_as_text, json_schema_input_type=Union[StrictStr, StrictInt])]  # noqa: UP007
Ids = Annotated[tuple[Id, ...], Field(max_length=MOST_IDS)]
Words = Annotated[tuple[StrictStr, ...], Field(max_length=MOST_IDS)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Where = Annotated[StrictStr, Field(description='a filter over item columns, such as price < 20 and brand != "x"')]


def _wrong(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{said}", {"said": sentence.rstrip(".")})


def _checked(text: str, field: str) -> str:
    """Return the text of a filter.

    Raises:
        PydanticCustomError: if it is none.
    """
    if text.strip():
        try:
            Expression.parsed(text, field)
        except UsageError as error:
            raise _wrong(str(error)) from None
    return text.strip()


class Pin(Settings):
    """An item at a fixed position of every answer."""

    item_id: Id
    """The item; it must pass the rules except for caps."""
    position: Annotated[int, Field(ge=1, le=_MOST_PLACES, strict=True)]
    """Its position, starting at 1."""


class Promotion(Settings):
    """Items that make up at least a given share of an answer."""

    where: Where
    """A filter over the items' columns."""
    share: Annotated[float, Field(gt=0, le=1, strict=True)]
    """Their minimum share, above 0 and at most 1; .25 of 10 items is 2."""

    @field_validator("where")
    @classmethod
    def _is_filter(cls, text: str) -> str:
        if not text.strip():
            raise _wrong("it is empty; name the items to promote")
        return _checked(text, "promoted.where")


class ShopRules(Settings):
    """Rules for every answer of a shop."""

    where: Where = ""
    """Filter over item columns that answered items satisfy, such as ``price < 20 and not brand == "x"``; empty accepts all."""
    in_stock: StrictBool = True
    """Whether to leave out items that are known to be unavailable or to have a stock of 0."""
    categories: Words = ()
    """Allowed categories; empty means all."""
    brands: Words = ()
    """Allowed brands; empty means all."""
    min_price: Optional[Price] = None  # noqa: UP045  pydantic reads it on 3.10
    """Minimum price; an item of unknown price does not pass."""
    max_price: Optional[Price] = None  # noqa: UP045
    """Maximum price; an item of unknown price does not pass."""
    max_per_category: Annotated[int, Field(ge=0, strict=True)] = 0
    """Maximum number of items of one category in an answer; 0 means no limit."""
    max_per_brand: Annotated[int, Field(ge=0, strict=True)] = 0
    """Maximum number of items of one brand in an answer; 0 means no limit."""
    variety: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)] = 0.0
    """Maximal marginal relevance over item vectors: 0 ranks by score alone, 1 by dissimilarity to the items before."""
    pinned: Annotated[tuple[Pin, ...], Field(max_length=_MOST_PLACES)] = ()
    """Items that stand at a place: `{ item_id = "lamp", position = 1 }` each."""
    promoted: Annotated[tuple[Promotion, ...], Field(max_length=20)] = ()
    """Items that are at least a share of an answer: `{ where = 'brand == "own"', share = 0.2 }` each."""

    @field_validator("where")
    @classmethod
    def _is_filter(cls, text: str) -> str:
        return _checked(text, "where")

    @field_validator("pinned")
    @classmethod
    def _are_apart(cls, pins: tuple[Pin, ...]) -> tuple[Pin, ...]:
        for what in ("position", "item_id"):
            values = [getattr(pin, what) for pin in pins]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise _wrong(f"the {what} {twice!r} stands there twice; give it once")
        return pins


class Rules(ShopRules):
    """What holds for one answer, beside the rules of the shop, which it tightens."""

    allow: Optional[Ids] = None  # noqa: UP045
    """The only items that may be answered; left out, all may."""
    cart_items: Ids = ()
    """What is in the cart, beside what the store knows of it; never answered."""

    def within(self, shop: ShopRules) -> Rules:
        """Return these rules and those of the shop together: of two bounds the tighter one, of two filters both."""
        places = {pin.position for pin in shop.pinned}
        items = {pin.item_id for pin in shop.pinned}
        own = tuple(pin for pin in self.pinned if pin.position not in places and pin.item_id not in items)
        return self.model_copy(
            update={
                "where": f"({shop.where}) and ({self.where})" if shop.where and self.where else shop.where or self.where,
                "in_stock": self.in_stock or shop.in_stock,
                "categories": _common(shop.categories, self.categories),
                "brands": _common(shop.brands, self.brands),
                "min_price": max((one for one in (shop.min_price, self.min_price) if one is not None), default=None),
                "max_price": min((one for one in (shop.max_price, self.max_price) if one is not None), default=None),
                "max_per_category": _least(shop.max_per_category, self.max_per_category),
                "max_per_brand": _least(shop.max_per_brand, self.max_per_brand),
                "variety": max(shop.variety, self.variety),
                "pinned": (*shop.pinned, *own),
                "promoted": (*shop.promoted, *self.promoted),
            }
        )

    @property
    def arranges(self) -> bool:
        """Whether more than the order of the scores decides."""
        return bool(self.max_per_category or self.max_per_brand or self.variety or self.pinned or self.promoted)


NOBODY: Final = "\x00"
"""A category and a brand of no item: what is left where the shop's and the request's have none in common."""


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if not one or not other:
        return one or other
    return tuple(word for word in one if word in set(other)) or (NOBODY,)


def _least(one: int, other: int) -> int:
    return min((each for each in (one, other) if each), default=0)
