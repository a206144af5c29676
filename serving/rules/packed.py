"""Excluded items as a tensor of a request: ``barred``.

One number stands for eight items that lie side by side in the catalogue: the place of the first, and a bit for each of them. So a few
items are few numbers, and many are a number for eight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def packed(barred: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return what stands for the barred items of a catalogue, bool [N]: int32, of each eight items with a barred one a number.

    >>> packed(np.array([True, False, True] + [False] * 8 + [True])).tolist()
    [5, 264]
    """
    bits = np.packbits(barred, bitorder="little").astype(np.int32)
    groups = np.flatnonzero(bits)
    numbers: npt.NDArray[np.int32] = (groups * 256 + bits[groups]).astype(np.int32)
    return numbers


def rows(numbers: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
    """Return the tensor of several shoppers [B, W], 0 behind the shorter rows."""
    made = np.zeros((len(numbers), max((len(row) for row in numbers), default=0) or 1), np.int32)
    for place, row in enumerate(numbers):
        made[place, : len(row)] = row
    return made


def unpacked(row: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the places of the barred items of one row, ascending if it came of :func:`packed`.

    >>> unpacked(np.array([5, 264, 0], np.int32)).tolist()
    [0, 2, 11]
    """
    groups, bits = row.astype(np.int64) // 256, (row % 256).astype(np.uint8)
    lanes = np.unpackbits(bits[:, None], axis=1, bitorder="little").astype(bool)
    places: npt.NDArray[np.int64] = (groups[:, None] * 8 + np.arange(8))[lanes]
    return places
