"""The shop's own columns as families of features: of items, shoppers, sessions and moments, as they were known strictly before an instant.

``cartwheel prepare`` reads the declared columns (``workflows.features.own_build``); these classes answer from what it wrote into the run,
by code for a log, by id for a catalogue. A value of a table with ``valid_from`` is that of the last row that was valid strictly before the
instant; of a table without, the one there is; of an own column of the events, the last one that an event brought strictly before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from cartwheel.core.run_layout import RunLayout, TablesLayout
from cartwheel.core.tables import read_json
from workflows.events.asof import Ints
from workflows.events.event_log import DAY_US, EventLog, instants
from workflows.events.side_tables import DAY
from workflows.events.typed_cells import plain_text
from workflows.features.column import Column, Owner
from workflows.features.family import Event, FeatureFamily, Moments, Past
from workflows.features.own_build import SESSION_MARK, bridge_name
from workflows.features.own_feature import OwnFeature
from workflows.features.own_history import ValueHistory

CATALOGUES: Final = {Owner.ITEM: "items", Owner.SHOPPER: "users"}
"""Owner -> the table that lists all of them."""


class OwnFamily(FeatureFamily):
    """Own features of one owner.

    Args:
        run: the run directory.
        features: those of the family's owner.
    """

    def __init__(self, run: Path, features: Sequence[OwnFeature]) -> None:
        self._run = run
        self._layout = TablesLayout(RunLayout(run).tables_folder)
        self.features = tuple(features)
        self.columns = tuple(column for feature in features for column in feature.columns)

    @property
    def always_known(self) -> tuple[str, ...]:
        """Names of the columns whose values have no time, which an audit must compare with the label."""
        return tuple(column.name for feature in self.features if feature.always_known for column in feature.columns)

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        """Return the columns for Q moments of the run's own log."""
        ids, sessions = self._ids(log, at.entity)
        return self._frame(ids, sessions, at.anchor)

    def frame(self, ids: pl.Series, at: Ints) -> pl.DataFrame:
        """Return the columns for entities by their ids, whether the log knows them or not.

        Args:
            ids: String [Q]: item ids, user ids (``session:`` and the id of an anonymous session) or names of sessions; "" or null for none.
            at: int64 [Q], instants in microseconds; nothing at or after them is looked at.
        """
        return self._frame(ids, ids, at)

    def listed(self, at: int) -> pl.Series:
        """Return the sorted ids that ``[tables.items]`` or ``[tables.users]`` lists strictly before an instant; none without that table."""
        return _listed(self._run, self.owner, at) if self.owner in CATALOGUES else pl.Series([], dtype=pl.String)

    def recompute(self, past: Past) -> Mapping[str, Any]:
        """Return the values for one moment in the plainest code."""
        found: dict[str, Any] = {}
        for feature in self.features:
            found |= _plain_columns(feature, self._plain_value(feature, past), past.anchor)
        return found

    def _ids(self, log: EventLog, entity: Ints) -> tuple[pl.Series, pl.Series]:
        """Return for each entity its id, and what events call it."""
        raise NotImplementedError

    def _frame(self, ids: pl.Series, in_events: pl.Series, at: Ints) -> pl.DataFrame:
        series = [
            column
            for feature in self.features
            for column in _columns(
                feature, self._values(feature), self._codes(feature, ids if feature.table else in_events, at), at
            )
        ]
        return pl.DataFrame(series) if series else pl.DataFrame()

    def _codes(self, feature: OwnFeature, ids: pl.Series, at: Ints) -> Ints:
        keys = ids
        if feature.table and feature.on == "date":
            keys = self._dates(ids, at)
        elif feature.table and feature.on in ("category", "brand"):
            keys = _taken(self._stored(bridge_name(feature.on))[1]["raw"], self._history(bridge_name(feature.on)).codes(ids, at))
        return self._history(feature.name).codes(keys, at)

    def _dates(self, ids: pl.Series, at: Ints) -> pl.Series:
        """Return the day of each moment, as the key of a calendar."""
        del ids
        return _days(at)

    @cached_property
    def _cache(self) -> dict[str, tuple[ValueHistory, pl.DataFrame]]:
        return {}

    def _stored(self, name: str) -> tuple[ValueHistory, pl.DataFrame]:
        if name not in self._cache:
            history = ValueHistory(pl.read_parquet(self._layout.history(name)))
            self._cache[name] = history, pl.read_parquet(self._layout.values(name))
        return self._cache[name]

    def _history(self, name: str) -> ValueHistory:
        return self._stored(name)[0]

    def _values(self, feature: OwnFeature) -> pl.Series:
        return self._stored(feature.name)[1]["value"]

    # The plain way, which shares with the quick one nothing but the files of values.

    @cached_property
    def _plain_rows(self) -> dict[str, dict[str, list[tuple[int | None, str | None]]]]:
        """Feature -> key -> instants and texts of its table."""
        return {}

    def _rows_of(self, feature: OwnFeature) -> dict[str, list[tuple[int | None, str | None]]]:
        if feature.name not in self._plain_rows:
            table = pl.read_parquet(self._layout.table(feature.table))
            cell = plain_text(pl.col(feature.column), table.schema[feature.column], keeps_point=False)
            rows: dict[str, list[tuple[int | None, str | None]]] = {}
            for key, start, text in table.select("key", pl.col("valid_from").dt.epoch("us"), cell.alias("raw")).iter_rows():
                rows.setdefault(key, []).append((start, text))
            self._plain_rows[feature.name] = rows
        return self._plain_rows[feature.name]

    def _plain_value(self, feature: OwnFeature, past: Past) -> Any:
        text = self._plain_text(feature, past)
        if text is None:
            return None
        stored = self._stored(feature.name)[1]
        place = stored["raw"].index_of(text)
        return None if place is None else stored["value"][place]

    def _date(self, past: Past) -> str:
        return str(instants(np.array([past.anchor])).dt.strftime(DAY)[0])

    def _plain_text(self, feature: OwnFeature, past: Past) -> str | None:
        if not feature.table:
            return _last_brought(feature, past)
        key = past.entity
        if feature.on == "date":
            key = self._date(past)
        elif feature.on in ("category", "brand"):
            key = next((name for event in reversed(past.events) if (name := getattr(event, feature.on))), "")
        latest: tuple[int, str | None] | None = None
        for start, text in self._rows_of(feature).get(key, []):
            if start is None:
                return text
            if start < past.anchor and (latest is None or start >= latest[0]):
                latest = start, text
        return latest[1] if latest else None


class OwnItem(OwnFamily):
    """Own features of items."""

    name: ClassVar[str] = "own_item"
    owner: ClassVar[Owner] = Owner.ITEM

    def _ids(self, log: EventLog, entity: Ints) -> tuple[pl.Series, pl.Series]:
        ids = _taken(log.items, entity)
        return ids, ids


class OwnShopper(OwnFamily):
    """Own features of shoppers."""

    name: ClassVar[str] = "own_shopper"
    owner: ClassVar[Owner] = Owner.SHOPPER

    def _ids(self, log: EventLog, entity: Ints) -> tuple[pl.Series, pl.Series]:
        ids = _taken(log.keys, entity)
        return ids, ids


class OwnSession(OwnFamily):
    """Own features of sessions; the log must be that of ``with_sessions``."""

    name: ClassVar[str] = "own_session"
    owner: ClassVar[Owner] = Owner.SESSION

    def _ids(self, log: EventLog, entity: Ints) -> tuple[pl.Series, pl.Series]:
        shoppers, names = _taken(log.keys, _at(log.key, entity)), _taken(log.sessions, _at(log.session, entity))
        return names, pl.select(shoppers + SESSION_MARK + names).to_series()


class OwnMoment(OwnFamily):
    """Own features of days: a calendar of the shop."""

    name: ClassVar[str] = "own_moment"
    owner: ClassVar[Owner] = Owner.MOMENT

    def _ids(self, log: EventLog, entity: Ints) -> tuple[pl.Series, pl.Series]:
        del log
        none = pl.Series([None] * len(entity), dtype=pl.String)
        return none, none


class OwnDay(OwnMoment):
    """Own features of days as they were known at an instant that need not be of that day: a server knows a calendar of the days to come.

    An entity is a day, counted from 1970 UTC; one below 0 has no values.
    """

    name: ClassVar[str] = "own_day"

    def _ids(self, log: EventLog, entity: Ints) -> tuple[pl.Series, pl.Series]:
        del log
        days = day_names(entity)
        return days, days

    def _dates(self, ids: pl.Series, at: Ints) -> pl.Series:
        del at
        return ids

    def _date(self, past: Past) -> str:
        return past.entity

    def days(self) -> pl.Series:
        """Return the days of which something is known at some time, sorted: String."""
        keys = [pl.Series("key", self._history(feature.name).keys, dtype=pl.String) for feature in self.features]
        return pl.concat(keys).unique().sort()


def day_names(day: Ints) -> pl.Series:
    """Return days, counted from 1970 UTC, as the keys of a calendar: String [Q], null for those below 0."""
    return _days(np.maximum(day, 0) * DAY_US).set(pl.Series(day < 0), None)


_FAMILIES: Final = (OwnMoment, OwnShopper, OwnSession, OwnItem)


def own_families(run: Path) -> tuple[OwnFamily, ...]:
    """Return the families of the own features that ``cartwheel prepare`` found in a run: one for each owner that has some.

    Args:
        run: the run directory; one without ``own.json`` has none.
    """
    spec = TablesLayout(RunLayout(run).tables_folder).own_features
    if not spec.is_file():
        return ()
    features = [OwnFeature.from_json(content) for content in read_json(spec)["features"]]
    by_owner = [(family, [feature for feature in features if feature.owner is family.owner]) for family in _FAMILIES]
    return tuple(family(run, found) for family, found in by_owner if found)


def own_family(run: Path, owner: Owner) -> OwnFamily | None:
    """Return the family of one owner; None where it has no own features."""
    return next((family for family in own_families(run) if family.owner is owner), None)


def own_columns(run: Path, owner: Owner) -> tuple[Column, ...]:
    """Return the own columns of one owner, in the order in which they are declared."""
    family = own_family(run, owner)
    return family.columns if family is not None else ()


def own_frame(run: Path, owner: Owner, ids: pl.Series, at: int) -> pl.DataFrame:
    """Return the own columns of entities as of one instant: a frame row-aligned with ``ids``, of no columns where there are none.

    Args:
        run: the run directory.
        owner: ``ITEM`` or ``SHOPPER``.
        ids: String [N], item or user ids, whether the log knows them or not.
        at: microseconds since 1970 UTC; nothing at or after it is looked at.
    """
    family = own_family(run, owner)
    return family.frame(ids, np.full(len(ids), at, dtype=np.int64)) if family is not None else pl.DataFrame()


def listed_items(run: Path, at: int) -> pl.Series:
    """Return the ids of the items that ``[tables.items]`` lists strictly before an instant, sorted; none where there is no such table.

    Args:
        run: the run directory.
        at: microseconds since 1970 UTC; an item is listed from its earliest ``valid_from`` on, or always where the table has none.
    """
    return _listed(run, Owner.ITEM, at)


def listed_users(run: Path, at: int) -> pl.Series:
    """Return the ids of the users that ``[tables.users]`` lists strictly before an instant, as ``listed_items``."""
    return _listed(run, Owner.SHOPPER, at)


def first_listed(run: Path, owner: Owner) -> pl.DataFrame:
    """Return ``id`` (String, sorted) and ``listed_from`` (Int64, microseconds; null is always) of all that the table of an owner lists."""
    path = RunLayout(run).table(CATALOGUES[owner])
    if not path.is_file():
        return pl.DataFrame(schema={"id": pl.String, "listed_from": pl.Int64})
    rows = pl.scan_parquet(path, glob=False).select(
        pl.col("key").alias("id"), pl.col("valid_from").dt.epoch("us").alias("listed_from")
    )
    return rows.group_by("id").agg(pl.col("listed_from").min()).sort("id").collect()


def _listed(run: Path, owner: Owner, at: int) -> pl.Series:
    return first_listed(run, owner).filter(pl.col("listed_from").is_null() | (pl.col("listed_from") < at))["id"]


def _days(at: Ints) -> pl.Series:
    return instants(at).dt.strftime(DAY)


def _at(values: Ints, rows: Ints) -> Ints:
    return np.where(rows >= 0, values[np.maximum(rows, 0)], -1) if len(values) else np.full(len(rows), -1, dtype=np.int64)


def _taken(table: pl.Series, codes: Ints) -> pl.Series:
    """Return the rows of a table that codes name; null for -1."""
    places = pl.Series(values=codes, dtype=pl.Int64)
    return table.gather(places.to_frame("code").select(pl.when(pl.col("code") >= 0).then("code"))["code"])


def _columns(feature: OwnFeature, values: pl.Series, codes: Ints, at: Ints) -> list[pl.Series]:
    """Return the columns of a feature for the values that codes name, each of its raw type."""
    found = _taken(values, codes)
    if feature.kind != "date":
        (column,) = feature.columns
        typed = found.cast(column.raw_type).alias(column.name)
        if column.missing is None:
            return [typed]
        return [typed.to_frame().select(pl.col(column.name).fill_null(pl.lit(column.missing, column.raw_type)))[column.name]]
    days, month, weekday = feature.columns
    moment = pl.Series(values=at, dtype=pl.Int64)
    date = found.cast(pl.Datetime("us"))
    return [
        ((moment - found) / DAY_US).cast(pl.Float32).alias(days.name),
        date.dt.month().cast(pl.String).fill_null(month.missing).alias(month.name),
        date.dt.weekday().cast(pl.String).fill_null(weekday.missing).alias(weekday.name),
    ]


def _plain_columns(feature: OwnFeature, value: Any, anchor: int) -> dict[str, Any]:
    if feature.kind == "date":
        if value is None:
            return {column.name: column.missing for column in feature.columns}
        date = instants(np.array([value]))[0]
        values = (float(np.float32((anchor - value) / DAY_US)), str(date.month), str(date.isoweekday()))
        return {column.name: part for column, part in zip(feature.columns, values, strict=True)}
    (column,) = feature.columns
    if value is None:
        return {column.name: column.missing}
    return {column.name: value.to_list() if isinstance(value, pl.Series) else value}


def _last_brought(feature: OwnFeature, past: Past) -> str | None:
    for event in reversed(past.events):
        if feature.owner is not Owner.SESSION or event.session == past.entity:
            text = _text_of(event, feature.column)
            if text is not None:
                return text
    return None


def _text_of(event: Event, column: str) -> str | None:
    cell = pl.Series("cell", [event.own.get(column)])
    text = cell.to_frame().select(plain_text(pl.col("cell"), cell.dtype, keeps_point=False))["cell"][0]
    return None if text is None else str(text)
