"""The exact median in memory that does not grow: a few passes, each of which learns 16 more bits of it.

The bits of a float, rearranged, sort as the float does. A pass counts how many values start with each possible group of 16 bits after
those that are known of the median; the group in which the middle falls is known then too. That is selection with limited storage
(J. I. Munro, M. S. Paterson, "Selection and sorting with limited storage", Theoretical Computer Science 12, 1980) with histograms in
place of samples.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from workflows.compiler.fit.numbers import present
from workflows.compiler.fit.passes import Accumulator

_DIGIT_BITS: Final = 16
_DIGITS: Final = 1 << _DIGIT_BITS


class Median(Accumulator):
    """The median of a column: the mean of the two middle values where their number is even; NaN where there is none.

    Takes two passes for float32 and four for other numbers, which are read as float64, and holds two histograms of 65,536 counts.

    Args:
        column: its name.
        bits: 32 for float32, 64 for anything else.
    """

    def __init__(self, column: str, bits: int) -> None:
        self.columns = (column,)
        self._bits = bits
        self._known = 0
        self._histograms = {0: np.zeros(_DIGITS, dtype=np.int64)}  # what is known of a middle value -> counts of its next 16 bits
        self._middle: list[tuple[int, int]] | None = None  # what is known of each, and its rank among values that start so

    def take(self, batch: pl.DataFrame) -> None:
        """Count the next bits of the values that may be the middle ones."""
        keys = _sortable(present(batch[self.columns[0]]), self._bits)
        digits = (keys >> np.uint64(self._bits - self._known - _DIGIT_BITS)) & np.uint64(_DIGITS - 1)
        for prefix, histogram in self._histograms.items():
            chosen = digits[keys >> np.uint64(self._bits - self._known) == np.uint64(prefix)] if self._known else digits
            histogram += np.bincount(chosen.astype(np.int64), minlength=_DIGITS)

    def again(self) -> bool:
        """Learn 16 bits, and say whether there are more."""
        if self._middle is None:
            count = int(self._histograms[0].sum())
            if not count:
                return False
            self._middle = [(0, (count - 1) // 2), (0, count // 2)]
        self._middle = [self._learn(prefix, rank) for prefix, rank in self._middle]
        self._known += _DIGIT_BITS
        self._histograms = {prefix: np.zeros(_DIGITS, dtype=np.int64) for prefix, _ in self._middle}
        return self._known < self._bits

    def _learn(self, prefix: int, rank: int) -> tuple[int, int]:
        upto = np.cumsum(self._histograms[prefix])
        digit = int(np.searchsorted(upto, rank, side="right"))
        before = int(upto[digit - 1]) if digit else 0
        return prefix << _DIGIT_BITS | digit, rank - before

    @property
    def value(self) -> float:
        """The median, once no pass is needed any more."""
        if self._middle is None:
            return float("nan")
        low, high = (_value(prefix, self._bits) for prefix, _ in self._middle)
        if low == high:
            return low
        total = low + high
        return total / 2 if np.isfinite(total) else low / 2 + high / 2


def _sortable(values: pl.Series, bits: int) -> npt.NDArray[np.uint64]:
    """Return keys that sort as the numbers do: positive floats with their sign bit set, negative ones with all bits turned over."""
    if bits == 32:
        raw = (values.to_numpy() + np.float32(0)).view(np.uint32).astype(np.uint64)  # + 0 makes -0 plain 0
    else:
        raw = (values.cast(pl.Float64).to_numpy() + 0.0).view(np.uint64)
    sign = np.uint64(1 << bits - 1)
    every = np.uint64((1 << bits) - 1)
    return np.where(raw & sign, raw ^ every, raw | sign)


def _value(key: int, bits: int) -> float:
    sign = 1 << bits - 1
    raw = key ^ sign if key & sign else key ^ ((1 << bits) - 1)
    kind = np.dtype(np.uint32 if bits == 32 else np.uint64)
    return float(np.array([raw], dtype=kind).view(np.float32 if bits == 32 else np.float64)[0])
