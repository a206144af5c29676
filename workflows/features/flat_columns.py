"""A shop's own columns for the recommender: categories and numbers as of an instant, one row a shopper, a day or an item.

Lists and vectors become numbers: a vector one column a component, tags one column for each of the most frequent ones, 1 where the
shopper, day or item has it. So every model reads them as it reads the built-in columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import polars as pl

from workflows.events.asof import Ints
from workflows.events.event_log import EventLog
from workflows.features.column import CATEGORICAL, LISTS, Column, Kind, Owner
from workflows.features.compute import compute_family
from workflows.features.family import FeatureFamily, Moments

_AS_CATEGORY: Final = (Kind.CALENDAR, Kind.ID)


class FlatColumns:
    """The own columns of a log's shoppers, days or items.

    ``families`` are those of the owner, and ``tags`` holds for each column of tags those that have a column of their own.

    Args:
        families: feature families; those of other owners are left aside.
        owner: ``SHOPPER``, ``MOMENT`` or ``ITEM``.
        log: the coded events, each with a session where a family asks for one.
        until: microseconds; the tags that get a column of their own are the most frequent ones as of this instant, where training ends.
    """

    def __init__(self, families: Sequence[FeatureFamily], owner: Owner, log: EventLog, until: int) -> None:
        self.families: Sequence[FeatureFamily] = [family for family in families if family.owner is owner]
        self._log = log
        columns = [column for family in self.families for column in family.columns]
        self.tags: dict[str, list[str]] = {}
        if any(column.kind in LISTS for column in columns):
            codes = self._everyone(until)
            raw = self._raw(codes, np.full(len(codes), until, np.int64))
            self.tags = {column.name: _frequent(raw[column.name], column.width) for column in columns if column.kind in LISTS}
        self.columns: tuple[Column, ...] = tuple(flat for column in columns for flat in self._flat(column))

    def _everyone(self, until: int) -> Ints:
        """Return the codes of all entities of the log that training may look at."""
        del until
        return np.arange(len(self._log.keys), dtype=np.int64)

    def _raw(self, entity: Ints, instant: Ints) -> pl.DataFrame:
        """Return the columns of all families for entities as of instants, of their raw types."""
        moments = Moments(entity, instant)
        frames = [compute_family(family, self._log, moments, "[features]") for family in self.families]
        return pl.DataFrame([series for frame in frames for series in frame])

    def _flat(self, column: Column) -> list[Column]:
        """Return the categories and numbers that stand for a column."""
        if column.kind is Kind.VECTOR:
            number = replace(column, kind=Kind.NUMBER, width=1, fill=0.0)
            titles = [f"{column.title}, {place}" for place in range(column.width)]
            return [replace(number, name=f"{column.name}_{place}", title=title) for place, title in enumerate(titles)]
        if column.kind in LISTS:
            number = replace(column, kind=Kind.NUMBER, width=1, fill=0.0, vocabulary="")
            tags = self.tags[column.name]
            return [replace(number, name=f"{column.name}_{n}", title=f"{column.title}: {tag}") for n, tag in enumerate(tags)]
        if column.kind in _AS_CATEGORY:
            return [replace(column, kind=Kind.CATEGORY, vocabulary="")]
        return [column]

    def frame(self, entity: Ints, instant: Ints) -> pl.DataFrame:
        """Compute the columns.

        Args:
            entity: int64 [Q], codes of shoppers (``EventLog.keys``) or items, or days since 1970 UTC; -1 for one that is not known.
            instant: int64 [Q], microseconds; nothing at or after it is looked at.

        Returns:
            ``columns``, [Q] rows: String with "" and Float32 with null for what is not known.
        """
        raw = self._raw(entity, instant)
        return pl.DataFrame(
            [
                values.alias(flat.name)
                for family in self.families
                for column in family.columns
                for flat, values in zip(self._flat(column), self._parts(column, raw[column.name]), strict=True)
            ]
        )

    def _parts(self, column: Column, values: pl.Series) -> list[pl.Series]:
        """Return the values of each column of ``_flat``."""
        if column.kind is Kind.VECTOR:
            return [values.list.get(place, null_on_oob=True) for place in range(column.width)]
        if column.kind in LISTS:
            return [values.list.contains(tag).cast(pl.Float32) for tag in self.tags[column.name]]
        if column.kind in CATEGORICAL:
            return [values.cast(pl.String).fill_null("")]
        return [values.fill_nan(None)]

    def expected(self, column: Column, value: Any) -> Mapping[str, Any]:
        """Return what stands for one value of a column, in plain Python: the definition that the audit holds ``frame`` to."""
        if column.kind is Kind.VECTOR:
            return {f"{column.name}_{place}": number for place, number in enumerate(value)}
        if column.kind in LISTS:
            return {f"{column.name}_{place}": float(tag in value) for place, tag in enumerate(self.tags[column.name])}
        if column.kind is Kind.CALENDAR:
            return {column.name: "" if value is None else str(value)}
        return {column.name: value}


def _frequent(lists: pl.Series, most: int) -> list[str]:
    """Return the values that stand in most lists, at most ``most``, equals in order of their characters."""
    single = pl.Series("tag", [tag for tags in lists for tag in tags], dtype=pl.String)
    counts = single.to_frame().group_by("tag").agg(pl.len().alias("count"))
    return counts.sort(["count", "tag"], descending=[True, False])["tag"].head(most).to_list()
