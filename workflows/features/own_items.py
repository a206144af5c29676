"""A shop's own columns of items for the recommender: categories and numbers as of an instant, one row an item.

Lists and vectors become numbers: a vector one column a component, tags one column for each of the most frequent ones, 1 where the item
has it. So every model of items reads them as it reads the built-in columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from workflows.events.asof import Floats, Ints
from workflows.events.event_log import EventLog, float32
from workflows.features.column import CATEGORICAL, LISTS, Column, Kind, Owner
from workflows.features.family import FeatureFamily, Moments


class OwnItems:
    """The own columns of a log's items.

    ``families`` are those that own items, and ``tags`` holds for each column of tags those that have a column of their own.

    Args:
        families: those that own items; others are left aside.
        log: the coded events.
        until: microseconds; the tags that get a column of their own are the most frequent ones as of this instant, where training ends.
    """

    def __init__(self, families: Sequence[FeatureFamily], log: EventLog, until: int) -> None:
        self.families: Sequence[FeatureFamily] = [family for family in families if family.owner is Owner.ITEM]
        self._log = log
        self._values: dict[str, list[str]] = {}
        items = np.arange(len(log.items), dtype=np.int64)
        raw = self._raw(items, np.full(len(items), until, np.int64))
        self.tags: dict[str, list[str]] = {
            column.name: _frequent(raw[column.name], column.width)
            for family in self.families
            for column in family.columns
            if column.kind in LISTS
        }
        self.columns: tuple[Column, ...] = tuple(
            flat for family in self.families for column in family.columns for flat in self._flat(column)
        )

    def _raw(self, item: Ints, instant: Ints) -> pl.DataFrame:
        """Return the columns of all families for items as of instants, of their raw types."""
        moments = Moments(item, instant)
        return pl.concat([family.compute(self._log, moments) for family in self.families], how="horizontal")

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
        if column.kind is Kind.CALENDAR:
            return [replace(column, kind=Kind.CATEGORY)]
        return [column]

    def arrays(self, item: Ints, instant: Ints) -> dict[str, Floats | Ints]:
        """Compute the columns.

        Args:
            item: int64 [Q], item codes.
            instant: int64 [Q], microseconds; nothing at or after it is looked at.

        Returns:
            By name, each [Q]: numbers float64, NaN where unknown; categories int64 codes, which ``series`` turns into text.
        """
        raw = self._raw(item, instant)
        return {
            flat.name: values
            for family in self.families
            for column in family.columns
            for flat, values in zip(self._flat(column), self._parts(column, raw[column.name]), strict=True)
        }

    def _parts(self, column: Column, values: pl.Series) -> list[Floats | Ints]:
        """Return the values of each column of ``_flat``."""
        if column.kind is Kind.VECTOR:
            return [_numbers(values.list.get(place, null_on_oob=True)) for place in range(column.width)]
        if column.kind in LISTS:
            return [values.list.contains(tag).to_numpy().astype(np.float64) for tag in self.tags[column.name]]
        if column.kind in CATEGORICAL:
            return [self._codes(column.name, values.cast(pl.String).fill_null(""))]
        return [_numbers(values)]

    def _codes(self, name: str, values: pl.Series) -> Ints:
        """Return the place of each text among those met so far, to which new ones are added in the order of their characters."""
        known = self._values.setdefault(name, [])
        known.extend(sorted(set(values.unique()) - set(known)))
        places = {text: place for place, text in enumerate(known)}
        codes: Ints = values.replace_strict(places, return_dtype=pl.Int64).to_numpy()
        return codes

    def series(self, state: dict[str, Floats | Ints]) -> dict[str, pl.Series]:
        """Return the columns of ``arrays`` as raw columns: text, and float32 with null where unknown."""
        found: dict[str, pl.Series] = {}
        for column in self.columns:
            values = state[column.name]
            if column.kind in CATEGORICAL:
                found[column.name] = pl.Series(column.name, self._values[column.name], dtype=pl.String).gather(values)
            else:
                found[column.name] = float32(values.astype(np.float64)).alias(column.name)
        return found


def _numbers(values: pl.Series) -> Floats:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _frequent(lists: pl.Series, most: int) -> list[str]:
    """Return the values that stand in most lists, at most ``most``, equals in order of their characters."""
    single = pl.Series("tag", [tag for tags in lists for tag in tags], dtype=pl.String)
    counts = single.to_frame().group_by("tag").agg(pl.len().alias("count"))
    return counts.sort(["count", "tag"], descending=[True, False])["tag"].head(most).to_list()
