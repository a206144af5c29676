"""RetailRocket e-commerce data: ``events.csv``, with ``item_properties*.csv`` and ``category_tree.csv`` where they lie beside.

https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Final

import polars as pl

from workflows.events import reading
from workflows.events.instants import parse_instant
from workflows.events.schema import CART, PURCHASE
from workflows.events.sources.base import FileSource, Names
from workflows.events.tidy import Tidy
from workflows.settings import SourceSettings

_EVENT_TYPES: Final = {"addtocart": CART, "transaction": PURCHASE}
_SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")
_PROPERTIES: Final = "item_properties"
_TREE: Final = "category_tree"
_FROM: Final = "__cartwheel_from"
_UNTIL: Final = "__cartwheel_until"
_ALWAYS: Final = dt.datetime(1, 1, 1, tzinfo=dt.timezone.utc)
_FOREVER: Final = dt.datetime(9999, 12, 31, tzinfo=dt.timezone.utc)


class RetailRocket(FileSource):
    """Views, additions to the cart and transactions; visitors without sessions, items without prices.

    ``category`` is the item's ``categoryid`` as it stood at the instant of the event: the published properties are dated
    snapshots, and an event before the first of them has no category rather than one from its future. With the category tree
    come the own columns ``category_parent`` and ``category_root``. ``transaction_id`` is an own column too.
    """

    kind = "retailrocket"
    required: ClassVar[Names] = {
        "user_id": ("visitorid",),
        "item_id": ("itemid",),
        "event_type": ("event",),
        "timestamp": ("timestamp",),
    }
    own: ClassVar[Names] = {"transaction_id": ("transactionid",)}
    timestamp_formats = ("ms",)
    event_files: ClassVar[tuple[str, ...]] = tuple(f"events{suffix}" for suffix in _SUFFIXES)

    def __init__(self, settings: SourceSettings, base_folder: Path) -> None:
        super().__init__(settings, base_folder)
        self._categories = _category_spans(map(self.open_side, _side_files(self.folder, _PROPERTIES)), self.tidy)
        self._tree = _category_tree(map(self.open_side, _side_files(self.folder, _TREE)), self.tidy)

    def side_files(self) -> list[Path]:
        """Return the files of item properties and of the category tree, where they lie beside the events."""
        return [*_side_files(self.folder, _PROPERTIES), *_side_files(self.folder, _TREE)]

    def shape(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Name the event types and look up the category of each event."""
        events = events.with_columns(pl.col("event_type").replace(_EVENT_TYPES))
        if self._categories is not None:
            instant = parse_instant(pl.col("timestamp"), self.timestamp_formats).fill_null(pl.lit(_ALWAYS))
            # The spans of an item cover all time without overlap, so that exactly one joined row survives for each event.
            events = (
                events.drop("category")
                .join(self._categories.lazy(), on="item_id", how="left")
                .filter(pl.col(_FROM).is_null() | ((instant >= pl.col(_FROM)) & (instant < pl.col(_UNTIL))))
                .drop(_FROM, _UNTIL)
            )
        if self._tree is not None:
            events = events.join(self._tree.lazy(), on="category", how="left")
        return events


def _side_files(folder: Path, stem: str) -> list[Path]:
    """Return the files of a side table: ``<stem>*`` with a readable suffix."""
    found = sorted(folder.glob(f"{stem}*"))
    return [path for path in found if path.name.lower().endswith(_SUFFIXES) and path.stat().st_size]


def _side_column(opened: reading.Opened, name: str) -> pl.Expr:
    if name not in opened.columns:
        reading.require(name, (name,), opened.columns, opened.files[0])
    return pl.col(name).cast(pl.String)


def _category_spans(tables_of: Iterable[reading.Opened], tidy: Tidy) -> pl.DataFrame | None:
    """Return item_id, category and the span of time over which it held; spans of one item cover all time."""
    tables = []
    for opened in tables_of:
        item, moment, value = (_side_column(opened, name) for name in ("itemid", "timestamp", "value"))
        wanted = opened.table.filter(_side_column(opened, "property") == "categoryid").select(
            tidy.of_name(item).alias("item_id"),
            parse_instant(moment, ("ms",)).alias(_FROM),
            tidy.of_name(value).alias("category"),
        )
        tables.append(reading.collect(wanted.drop_nulls(), opened.files[0].path))
    if not tables:
        return None
    snapshots = pl.concat(tables).sort("item_id", _FROM, "category").unique(["item_id", _FROM], keep="last", maintain_order=True)
    changes = snapshots.filter((pl.col("category") != pl.col("category").shift(1).over("item_id")).fill_null(value=True))
    before = changes.select(pl.col("item_id").unique(maintain_order=True)).with_columns(
        pl.lit(_ALWAYS).cast(pl.Datetime("us", "UTC")).alias(_FROM), pl.lit(None, pl.String).alias("category")
    )
    spans = pl.concat([before, changes]).sort("item_id", _FROM)
    return spans.with_columns(pl.col(_FROM).shift(-1).over("item_id").fill_null(pl.lit(_FOREVER)).alias(_UNTIL))


def _category_tree(tables: Iterable[reading.Opened], tidy: Tidy) -> pl.DataFrame | None:
    """Return category, category_parent and category_root (a category without parent is its own root)."""
    parents: dict[str, str | None] = {}
    for opened in tables:
        pairs = opened.table.select(
            *(tidy.of_name(_side_column(opened, name)).alias(name) for name in ("categoryid", "parentid"))
        )
        parents.update(pair for pair in reading.collect(pairs, opened.files[0].path).iter_rows() if pair[0])
    if not parents:
        return None
    columns = {
        "category": list(parents),
        "category_parent": [parent or None for parent in parents.values()],
        "category_root": [_root(category, parents) for category in parents],
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String()))


def _root(category: str, parents: dict[str, str | None]) -> str:
    seen = {category}  # A tree that runs in a circle must not hang the run.
    while (parent := parents.get(category)) and parent not in seen:
        seen.add(parent)
        category = parent
    return category
