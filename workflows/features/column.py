"""One column of features, declared once: its raw type, NVTabular operators, Merlin tags and missing value all follow from its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from cartwheel.core.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl


class Owner(Enum):
    """What a value belongs to, and so what it is looked up by."""

    MOMENT = "moment"
    SHOPPER = "shopper"
    SESSION = "session"
    ITEM = "item"
    PAIR = "pair"
    CART = "cart"


class Kind(Enum):
    """What a value means, and so how it is encoded."""

    ID = "id"
    CATEGORY = "category"
    TAGS = "tags"
    CALENDAR = "calendar"
    COUNT = "count"
    AMOUNT = "amount"
    RATIO = "ratio"
    NUMBER = "number"
    ID_LIST = "id_list"
    VECTOR = "vector"


CATEGORICAL: Final = frozenset({Kind.ID, Kind.CATEGORY, Kind.CALENDAR})
"""Kinds of which a row has one id."""
CONTINUOUS: Final = frozenset({Kind.COUNT, Kind.AMOUNT, Kind.RATIO, Kind.NUMBER})
"""Kinds of which a row has one number."""
LISTS: Final = frozenset({Kind.TAGS, Kind.ID_LIST})
"""Kinds of which a row has several ids."""


@dataclass(frozen=True)
class Column:
    """A column of raw features.

    Attributes:
        name: in tables, requests and reports; an encoded column keeps it.
        owner: what a value belongs to.
        kind: what a value means.
        title: what it is, in a few words for a reader of the report.
        vocabulary: the column whose ids it shares; empty where it has its own.
        width: longest list, or length of a vector; 1 for scalars.
        min_events: how often a value must have been seen in training to get an id of its own.
        fill: what stands for a number that is not known; None is 0 of counts, 1 of ratios and the training median of others.
    """

    name: str
    owner: Owner
    kind: Kind
    title: str
    vocabulary: str = ""
    width: int = 1
    min_events: int = 1
    fill: float | None = None

    @property
    def raw_type(self) -> pl.DataType:
        """Type of the raw column. Strings use "" for what is missing, floats null, lists the empty list, vectors zeros."""
        import polars as pl  # the client reads declarations where Polars is not installed

        if self.kind is Kind.VECTOR:
            return pl.List(pl.Float32)
        if self.kind in LISTS:
            return pl.List(pl.String)
        if self.kind is Kind.CALENDAR:
            return pl.Int64()
        return pl.Float32() if self.kind in CONTINUOUS else pl.String()

    @property
    def missing(self) -> Any:
        """What the raw column holds where the value is not known: "", null, an empty list, or a vector of zeros, all of one width."""
        if self.kind is Kind.VECTOR:
            return [0.0] * self.width
        if self.kind in LISTS:
            return []
        return "" if self.kind in (Kind.ID, Kind.CATEGORY) else None

    def to_json(self) -> dict[str, Any]:
        """Return the declaration as JSON values."""
        return {**vars(self), "owner": self.owner.value, "kind": self.kind.value}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Column:
        """Return the column that ``to_json`` described."""
        return Column(**{**content, "owner": Owner(content["owner"]), "kind": Kind(content["kind"])})


def check_distinct(columns: tuple[Column, ...], where: str) -> tuple[Column, ...]:
    """Return the columns, each of which has a name of its own.

    Raises:
        ConfigError: if two have one name.
    """
    seen: dict[str, Column] = {}
    for column in columns:
        if column.name in seen:
            raise ConfigError(
                f"{where}: two features are called {column.name!r} ({seen[column.name].title!r} and {column.title!r}).",
                "Give one of them another name.",
            )
        seen[column.name] = column
    return columns
