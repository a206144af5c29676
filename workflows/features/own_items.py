"""The own columns of the recommender's items, as the arrays that the state of an item is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from workflows.events.asof import Floats, Ints
from workflows.events.event_log import EventLog, float32
from workflows.features.column import CATEGORICAL, Owner
from workflows.features.family import FeatureFamily
from workflows.features.flat_columns import FlatColumns


class OwnItems(FlatColumns):
    """The own columns of a log's items.

    Args:
        families: those that own items; others are left aside.
        log: the coded events.
        until: microseconds, where training ends; see ``FlatColumns``.
    """

    def __init__(self, families: Sequence[FeatureFamily], log: EventLog, until: int) -> None:
        self._values: dict[str, list[str]] = {}
        super().__init__(families, Owner.ITEM, log, until)

    def _everyone(self, until: int) -> Ints:
        del until
        return np.arange(len(self._log.items), dtype=np.int64)

    def arrays(self, item: Ints, instant: Ints) -> dict[str, Floats | Ints]:
        """Compute the columns.

        Args:
            item: int64 [Q], item codes.
            instant: int64 [Q], microseconds; nothing at or after it is looked at.

        Returns:
            By name, each [Q]: numbers float64, NaN where unknown; categories int64 codes, which ``series`` turns into text.
        """
        frame = self.frame(item, instant)
        return {
            column.name: self._codes(column.name, values) if column.kind in CATEGORICAL else _numbers(values)
            for column, values in zip(self.columns, frame, strict=True)
        }

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
