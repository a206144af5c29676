"""The folds of ``TargetEncoding``: which part of the rows a row belongs to, as NVTabular draws it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt


class Folds:
    """The folds of the rows of one table, by their places: drawn by a seeded generator, or in turn where there is no seed.

    The folds drawn so far are kept, a byte or two a row: a generator knows the next only, and Polars may ask for rows in any order.

    Args:
        count: how many folds there are.
        seed: of NumPy's old generator, as NVTabular has it; None takes turns.
    """

    def __init__(self, count: int, seed: int | None) -> None:
        self._choices = np.arange(count, dtype=np.min_scalar_type(count * 2))
        self._random = None if seed is None else np.random.RandomState(seed)
        self._drawn = self._choices[:0]
        self._lock = threading.Lock()

    def at(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the folds of rows, which are told by their places, counted from 0."""
        if self._random is None:
            counted: npt.NDArray[Any] = rows.astype(
                self._choices.dtype
            )  # in the narrow type, as in NVTabular: the row 256 is the row 0 again
            folds: npt.NDArray[Any] = counted % self._choices.dtype.type(len(self._choices))
            return folds
        with self._lock:
            lacking = int(rows.max(initial=-1)) + 1 - len(self._drawn)
            if lacking > 0:
                further = self._random.choice(self._choices, max(lacking, len(self._drawn)))
                self._drawn = np.concatenate([self._drawn, further])
            drawn: npt.NDArray[Any] = self._drawn[rows]
            return drawn
