"""The columns of one run: the built-in ones of the recommender, and behind them the own columns of its shoppers, days and items.

What a shop knows of a shopper or an item reaches the towers, the DLRM, gradient boosting, the compiled graphs and the server as the
built-in columns of shoppers and items do, because every room asks the run's feature set for its lists of columns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cartwheel.core.files import write_json
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from workflows.features.column import CATEGORICAL, CONTINUOUS, Column, Kind, Owner, check_distinct
from workflows.features.columns import (
    COLUMNS,
    CROSS,
    ITEM_CATEGORICAL,
    ITEM_CONTINUOUS,
    QUERY_CATEGORICAL,
    QUERY_CONTINUOUS,
    QUERY_LISTS,
    STRINGS,
)

if TYPE_CHECKING:
    import polars as pl


_OF_QUERIES: Final = (Owner.SHOPPER, Owner.MOMENT)


@dataclass(frozen=True)
class FeatureSet:
    """The columns of a run.

    Attributes:
        own: own columns of shoppers, days and items: categories and numbers, each with a name that no built-in column has.
    """

    own: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        """Check that names are distinct."""
        check_distinct((*COLUMNS, *self.own), "[features.own]")

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """All columns, the built-in ones first."""
        return (*COLUMNS, *self.own)

    @cached_property
    def query_categorical(self) -> tuple[str, ...]:
        """Columns of queries of which a row has one id."""
        return QUERY_CATEGORICAL + self.own_names(CATEGORICAL, *_OF_QUERIES)

    @cached_property
    def query_continuous(self) -> tuple[str, ...]:
        """Columns of queries of which a row has one number."""
        return QUERY_CONTINUOUS + self.own_names(CONTINUOUS, *_OF_QUERIES)

    @cached_property
    def query_scalars(self) -> tuple[str, ...]:
        """Columns of queries of which a row has one value."""
        return self.query_categorical + self.query_continuous

    @cached_property
    def query(self) -> tuple[str, ...]:
        """Columns of queries; own ones have no lists."""
        return self.query_scalars + QUERY_LISTS

    @cached_property
    def item_categorical(self) -> tuple[str, ...]:
        """Columns of items of which a row has one id."""
        return ITEM_CATEGORICAL + self.own_names(CATEGORICAL, Owner.ITEM)

    @cached_property
    def item_continuous(self) -> tuple[str, ...]:
        """Columns of items of which a row has one number."""
        return ITEM_CONTINUOUS + self.own_names(CONTINUOUS, Owner.ITEM)

    @cached_property
    def item(self) -> tuple[str, ...]:
        """Columns of items."""
        return self.item_categorical + self.item_continuous

    def __getitem__(self, name: str) -> Column:
        """Return the declaration of a column."""
        return self._by_name[name]

    def raw_type(self, name: str) -> pl.DataType:
        """Return the type of a raw column."""
        return self[name].raw_type

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """Raw columns that hold strings, or lists of them."""
        return STRINGS + tuple(column.name for column in self.own if column.kind in CATEGORICAL)

    @cached_property
    def recommend(self) -> tuple[str, ...]:
        """Columns of the retrieval model."""
        return self.query + self.item

    def own_names(self, kinds: Collection[Kind], *owners: Owner) -> tuple[str, ...]:
        """Return the names of the own columns of some kinds and owners."""
        return tuple(column.name for column in self.own if column.kind in kinds and column.owner in owners)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the own columns as JSON values."""
        return [column.to_json() for column in self.own]

    @staticmethod
    def from_json(content: Sequence[Mapping[str, Any]]) -> FeatureSet:
        """Return the set that ``to_json`` described."""
        return FeatureSet(tuple(Column.from_json(each) for each in content))

    def write(self, path: Path) -> None:
        """Write the own columns; see ``RunLayout.columns``."""
        write_json(path, {"own": self.to_json()})


BUILT_IN: Final = FeatureSet()
"""The columns of a run whose shop has no own ones."""


def read_feature_set(run: RunLayout) -> FeatureSet:
    """Return the columns of a run; the built-in ones where it was prepared before own columns were known.

    Raises:
        RunError: if the file is there and cannot be read.
    """
    if not run.columns.is_file():
        return BUILT_IN
    return FeatureSet.from_json(read_json(run.columns)["own"])


def ranking_columns(features: FeatureSet, cart: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the columns of the ranking model, or with ``cart`` those of the cart model."""
    return (*features.query_scalars, *features.item, *CROSS, *cart)
