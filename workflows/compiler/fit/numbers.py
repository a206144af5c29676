"""Statistics of numbers that one pass gives: moments, ranges, and lengths of lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workflows.compiler.fit.passes import Accumulator
from workflows.compiler.lists import leaves

Number = float | int


def present(column: pl.Series) -> pl.Series:
    """Return the values of a column that are not missing; of lists, their elements."""
    return (leaves(column) if isinstance(column.dtype, pl.List) else column).drop_nulls()


def doubles(column: pl.Series) -> npt.NDArray[np.float64]:
    """Return the values of a column that are not missing as float64."""
    return present(column).cast(pl.Float64).to_numpy()


class Range(Accumulator):
    """The least and the greatest value of a column.

    Attributes:
        least: None where there is no value.
        greatest: None where there is no value.
    """

    def __init__(self, column: str) -> None:
        self.columns = (column,)
        self.least: Any = None
        self.greatest: Any = None

    def take(self, batch: pl.DataFrame) -> None:
        """Widen the range."""
        values = present(batch[self.columns[0]])
        if len(values):
            least, greatest = values.min(), values.max()
            self.least = least if self.least is None else min(self.least, least)
            self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)


class Moments(Accumulator):
    """Mean and standard deviation of a column, in float64.

    Each batch is centred on its own mean and the batches are then joined (T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae
    and a pairwise algorithm for computing sample variances", COMPSTAT 1982), which loses no digits where the mean is large beside the
    deviation. A column that never varies has exactly its value as the mean and 0 as the deviation.
    """

    def __init__(self, column: str) -> None:
        self.columns = (column,)
        self._range = Range(column)
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0

    def take(self, batch: pl.DataFrame) -> None:
        """Join the batch's moments to those so far."""
        self._range.take(batch)
        values = doubles(batch[self.columns[0]])
        if not len(values):
            return
        with np.errstate(over="ignore", invalid="ignore"):  # infinite values have an infinite mean and no deviation
            mean = float(values.mean())
            squares = float(np.square(values - mean).sum())
            count = self._count + len(values)
            apart = mean - self._mean
            self._squares += squares + apart * apart * self._count * len(values) / count
            self._mean = self._mean + apart * len(values) / count if np.isfinite(apart) else self._mean + mean
            self._count = count

    @property
    def mean(self) -> float:
        """The mean; NaN where there is no value."""
        if not self._count:
            return float("nan")
        return float(self._range.least) if self._constant else self._mean

    @property
    def std(self) -> float:
        """The standard deviation with Bessel's correction; NaN where there are fewer than two values."""
        if self._count < 2:
            return float("nan")
        return 0.0 if self._constant else float(np.sqrt(self._squares / (self._count - 1)))

    @property
    def _constant(self) -> bool:
        return bool(self._range.least == self._range.greatest)


class Lengths(Accumulator):
    """The least and the greatest length of a column's lists; 0 where there is no row."""

    def __init__(self, column: str) -> None:
        self.columns = (column,)
        self._least: int | None = None
        self._greatest = 0

    def take(self, batch: pl.DataFrame) -> None:
        """Widen the range of lengths."""
        lengths = batch[self.columns[0]].list.len()
        if len(lengths):
            least = int(lengths.to_numpy().min())
            self._least = least if self._least is None else min(self._least, least)
            self._greatest = max(self._greatest, int(lengths.to_numpy().max()))

    @property
    def value_count(self) -> dict[str, int]:
        """The two as NVTabular holds them."""
        return {"min": self._least or 0, "max": self._greatest}
