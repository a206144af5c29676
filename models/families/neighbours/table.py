"""The neighbour table: for each item of a catalogue, the items recommended by a history that contains it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.files import atomic_path

Ints = npt.NDArray[np.int64]
_FIX = "Run `cartwheel train` again."


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of N items, at most K each.

    A history scores item j with the sum over its places, n steps from the end, of share(n) * weight of j beside the item there.

    Attributes:
        columns: int32 [N, K], the neighbours as catalogue columns, the strongest first; -1 where there are fewer.
        weights: float32 [N, K], above 0; 0 where there is no neighbour.
    """

    columns: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @staticmethod
    def from_matrix(matrix: Any, most: int) -> Neighbours:
        """Make the table of a ``scipy.sparse.csr_matrix`` [N, N] whose rows hold at most ``most`` entries, in descending order."""
        lengths = np.diff(matrix.indptr)
        width = max(1, min(most, int(lengths.max(initial=0))))
        columns = np.full((matrix.shape[0], width), -1, np.int32)
        weights = np.zeros(columns.shape, np.float32)
        filled = np.arange(width) < lengths[:, None]
        columns[filled], weights[filled] = matrix.indices, matrix.data
        return Neighbours(columns, weights)

    def scores(self, recent: Ints, shares: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Score the catalogue for each history.

        Args:
            recent: [b, L] catalogue columns of the recent items, oldest first; N for an item out of the catalogue, -1 behind the last.
            shares: [L] or longer, share(n) for n = 0, 1, ...

        Returns:
            [b, N], 0 or above.
        """
        result: npt.NDArray[np.float32] = self.spoken_for(recent, shares).toarray()
        return result

    def spoken_for(self, recent: Ints, shares: npt.NDArray[np.float32]) -> Any:
        """Return what ``scores`` does as a ``scipy.sparse.csr_matrix`` [b, N]."""
        from scipy.sparse import csr_matrix

        items = len(self.columns)
        age = (recent >= 0).sum(axis=1, keepdims=True) - 1 - np.arange(recent.shape[1])
        row, slot = np.nonzero((recent >= 0) & (recent < items))
        weight = shares[age[row, slot]]
        history = csr_matrix((weight, (row, recent[row, slot])), shape=(len(recent), items))
        result = history @ self._matrix
        result.sort_indices()  # single entries are found by bisection
        return result

    @cached_property
    def _matrix(self) -> Any:
        from scipy.sparse import csr_matrix

        filled = self.columns >= 0
        starts = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
        return csr_matrix((self.weights[filled], self.columns[filled], starts), shape=(len(self.columns), len(self.columns)))

    def write(self, path: Path) -> None:
        """Write the table to an ``.npz`` file, atomically; numbers without a pattern hardly get smaller, and take long to compress."""
        with atomic_path(path) as aside, aside.open("wb") as stream:
            np.savez(stream, columns=self.columns, weights=self.weights)

    @staticmethod
    def read(path: Path, items: int) -> Neighbours:
        """Read a table that was written.

        Args:
            path: the file.
            items: N, which it must have.

        Raises:
            RunError: if the file is missing, corrupt or of another catalogue.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                columns, weights = stored["columns"], stored["weights"]
        except Exception as error:  # zipfile, numpy and the file system each raise their own
            raise RunError(f"{path} cannot be read ({error}).", _FIX) from error
        if columns.shape != weights.shape or columns.ndim != 2 or len(columns) != items:
            raise RunError(
                f"{path} holds arrays of shapes {columns.shape} and {weights.shape}, where [{items}, K] twice is expected.", _FIX
            )
        if not ((columns >= -1) & (columns < items)).all() or not np.isfinite(weights).all():
            raise RunError(f"{path} names items outside the catalogue, or has a weight that is not a number.", _FIX)
        return Neighbours(columns.astype(np.int32), weights.astype(np.float32))
