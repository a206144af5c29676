"""What an own feature is once its column is found: whose it is, where its values come from, and the columns that a model sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cartwheel.core.errors import ConfigError
from workflows.events.reading import did_you_mean
from workflows.features import columns as built_in
from workflows.features.column import Column, Kind, Owner, check_distinct
from workflows.settings import IDENTITY, OwnFeatureSettings

EVENTS: Final = ""
"""``OwnFeature.table`` of a column that the events bring along."""
OWNERS: Final = {"item": Owner.ITEM, "user": Owner.SHOPPER, "session": Owner.SESSION, "moment": Owner.MOMENT}
"""Word of the configuration -> owner."""
OWNER_OF: Final = {
    "item": "item",
    "user": "user",
    "session": "session",
    "date": "moment",
    "category": "item",
    "brand": "item",
}
"""What the key of a table names -> whose its columns are."""
_KINDS: Final = {
    "category": Kind.CATEGORY,
    "boolean": Kind.CATEGORY,
    "tags": Kind.TAGS,
    "number": Kind.NUMBER,
    "amount": Kind.AMOUNT,
    "text": Kind.VECTOR,
    "vector": Kind.VECTOR,
}
BUILT_IN: Final = frozenset({*built_in.QUERY, *built_in.ITEM, *built_in.CROSS, *built_in.CART, *built_in.RESERVED})


@dataclass(frozen=True)
class OwnFeature:
    """One declared feature.

    Attributes:
        name: in the configuration.
        owner: whose it is.
        kind: what a value means, a ``workflows.settings.OwnKind``.
        table: the table that has it; ``EVENTS`` for an own column of the events.
        on: what the key of the table names; of the events the owner itself.
        column: its name there.
        always_known: whether its values have no time.
        columns: what a model sees of it.
    """

    name: str
    owner: Owner
    kind: str
    table: str
    on: str
    column: str
    always_known: bool
    columns: tuple[Column, ...]

    @property
    def place(self) -> str:
        """How messages call where it comes from."""
        return f"tables.{self.table}.{self.column}" if self.table else f"the events' column {self.column}"

    def to_json(self) -> dict[str, Any]:
        """Return the feature as JSON values."""
        return {**vars(self), "owner": self.owner.value, "columns": [column.to_json() for column in self.columns]}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> OwnFeature:
        """Return the feature that ``to_json`` described."""
        columns = tuple(Column.from_json(column) for column in content["columns"])
        return OwnFeature(**{**content, "owner": Owner(content["owner"]), "columns": columns})


@dataclass(frozen=True)
class Place:
    """Columns that own features may come from.

    Attributes:
        table: name of a table; ``EVENTS`` for the events.
        on: what the key of the table names; empty for the events.
        columns: the shop's columns there.
        always_known: whether its rows have no time.
    """

    table: str
    on: str
    columns: tuple[str, ...]
    always_known: bool


def resolve(declared: Mapping[str, OwnFeatureSettings], places: tuple[Place, ...]) -> tuple[OwnFeature, ...]:
    """Find the column of each declared feature.

    Raises:
        ConfigError: a table or column is not there, a feature may come from two, its owner does not fit the table, or two features share a
            name.
    """
    features = tuple(_resolved(name, settings, places) for name, settings in declared.items())
    seen = tuple(column for feature in features for column in feature.columns)
    for column in seen:
        if column.name in BUILT_IN:
            raise ConfigError(
                f"features.own: {column.name!r} is the name of a feature that Cartwheel computes itself.",
                "Give the feature another name, and name its column in `from`.",
            )
    check_distinct(seen, "features.own")
    return features


def _resolved(name: str, settings: OwnFeatureSettings, places: tuple[Place, ...]) -> OwnFeature:
    where = f"features.own.{name}"
    place, column = _find(where, name, settings, places)
    owner = settings.owner or OWNER_OF.get(place.on, "")
    if not owner:
        raise ConfigError(
            f"{where}: {column!r} is a column of the events, and nothing says whose value it is.",
            f'Set owner = "item", "user" or "session" under [{where}].',
        )
    if place.on and owner != OWNER_OF[place.on]:
        raise ConfigError(
            f"{where}: owner is {owner!r}, but the rows of tables.{place.table} belong to {place.on} keys.",
            f'Set owner = "{OWNER_OF[place.on]}", or leave it out.',
        )
    if not place.on and owner == "moment":
        raise ConfigError(
            f"{where}: a column of the events belongs to an item, a user or a session.", "Set owner to one of them."
        )
    return OwnFeature(
        name=name,
        owner=OWNERS[owner],
        kind=settings.kind,
        table=place.table,
        on=place.on or owner,
        column=column,
        always_known=place.always_known,
        columns=feature_columns(name, OWNERS[owner], settings),
    )


def _find(where: str, name: str, settings: OwnFeatureSettings, places: tuple[Place, ...]) -> tuple[Place, str]:
    table, dot, column = settings.origin.rpartition(".")
    table = EVENTS if table == "events" else table
    if dot and any(place.table == table for place in places):
        (place,) = (place for place in places if place.table == table)
        if place.table == IDENTITY:
            raise ConfigError(
                f"{where}: tables.{IDENTITY} joins visitors to customers and has no features.", "Name another table."
            )
        if column not in place.columns:
            raise ConfigError(
                f"{where}: {f'tables.{table} has' if table else 'the events have'} no own column {column!r}; there are "
                f"{_listed(place.columns)}.{did_you_mean(column, place.columns)}",
                "Name a column that is there, or leave the feature out.",
            )
        return place, column
    column = settings.origin or name
    found = [place for place in places if column in place.columns and place.table != IDENTITY and _fits(settings, place)]
    if len(found) > 1:
        named = " and ".join(f"tables.{place.table}" if place.table else "the events" for place in found)
        raise ConfigError(
            f"{where}: the column {column!r} is declared twice, by {named}.",
            f'Say which is meant, as in from = "{found[0].table or "events"}.{column}".',
        )
    if not found:
        _refuse_unknown(where, settings.origin or name, places)
    return found[0], column


def _fits(settings: OwnFeatureSettings, place: Place) -> bool:
    return settings.owner is None or not place.on or OWNER_OF[place.on] == settings.owner


def _refuse_unknown(where: str, column: str, places: tuple[Place, ...]) -> None:
    table, dot, _ = column.rpartition(".")
    tables = [place.table for place in places if place.table]
    if dot:
        raise ConfigError(
            f"{where}: there is no table {table!r}; the tables are {_listed(tables)}.{did_you_mean(table, tables)}",
            f"Declare it as [tables.{table}], or correct `from`.",
        )
    known = [
        name for place in places for name in (place.columns if not place.table else [f"{place.table}.{c}" for c in place.columns])
    ]
    near = did_you_mean(column, known) or did_you_mean(column, [name.rpartition(".")[2] for name in known])
    raise ConfigError(
        f"{where}: neither the events nor a table has a column {column!r}; there are {_listed(known)}.{near}",
        "Name it in `from`, and bring columns of the events along in source.columns.",
    )


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def feature_columns(name: str, owner: Owner, settings: OwnFeatureSettings) -> tuple[Column, ...]:
    """Return what a model sees of a feature; of a date the days from it to the anchor, its month and its weekday.

    Month and weekday (1 is Monday) are categories, since a calendar column has no missing values.
    """
    whose = {Owner.ITEM: "of the item", Owner.SHOPPER: "of the shopper", Owner.SESSION: "of the session"}.get(owner, "of the day")
    title = f"{name.replace('_', ' ')} {whose}"
    if settings.kind == "date":
        return (
            Column(f"{name}_days", owner, Kind.NUMBER, f"days since the {title}"),
            Column(f"{name}_month", owner, Kind.CATEGORY, f"month of the {title}"),
            Column(f"{name}_weekday", owner, Kind.CATEGORY, f"weekday of the {title}"),
        )
    wide = settings.kind in ("tags", "text", "vector")
    return (
        Column(name, owner, _KINDS[settings.kind], title, width=settings.width if wide else 1, min_events=settings.min_events),
    )
