"""Ranking metrics of lists in long form, where the rows of a list are contiguous.

Elsewhere the metrics of lists read one row a query over the whole catalogue (``models.metrics.ranking``); here a list is as long as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lists:
    """Where lists lie in a table.

    Attributes:
        starts: [L] the first row of each.
        sizes: [L] how many rows each has.
    """

    starts: Ints
    sizes: Ints

    @staticmethod
    def of(groups: Ints) -> Lists:
        """Return the lists of rows of which those of one list follow one another.

        Args:
            groups: [N] the list of each row.

        >>> Lists.of(np.array([7, 7, 3])).sizes
        array([2, 1])
        """
        changes = np.flatnonzero(groups[1:] != groups[:-1]) + 1
        starts = np.concatenate([np.zeros(min(1, len(groups)), np.int64), changes])
        return Lists(starts, np.diff(np.append(starts, len(groups))))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def number(self) -> Ints:
        """[N] the list of each row, counted from 0."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @property
    def place(self) -> Ints:
        """[N] the place of each row in its list, counted from 0."""
        return np.arange(int(self.sizes.sum())) - np.repeat(self.starts, self.sizes)

    def differing(self, label: Floats) -> npt.NDArray[np.bool_]:
        """Return [L] whether the rows of a list differ in their labels, without which it holds no order."""
        if not len(self):
            return np.zeros(0, bool)
        return np.asarray(np.minimum.reduceat(label, self.starts) < np.maximum.reduceat(label, self.starts))


class ListNDCG:
    """NDCG of lists in long form, gains of ``2 ** label - 1`` (Burges et al., ICML 2005).

    Rows of equal scores share their gains evenly, the mean over all orders of theirs (McSherry and Najork, ECIR 2008): a model that
    scores all alike earns what chance earns, in whatever order the rows lie.

    Args:
        label: [N] whole numbers of at least 0.
        groups: [N] the list of each row; those of a list follow one another.
        k: places that count.
    """

    def __init__(self, label: Floats, groups: Ints, k: int = 10) -> None:
        lists = Lists.of(groups)
        self._number, place = lists.number, lists.place
        self._gain = np.exp2(label) - 1.0
        self._discount = np.where(place < k, 1.0 / np.log2(place + 2.0), 0.0)
        self._first = place == 0
        self._lists = len(lists)
        best = np.lexsort((-self._gain, self._number))
        self._ideal = self._per_list(self._gain[best] * self._discount)

    def of(self, score: Floats) -> Floats:
        """Return [L] the NDCG of each list; NaN where no label is above 0."""
        order = np.lexsort((-score, self._number))
        sorted_score = score[order]
        block = np.cumsum(self._first | np.append(True, sorted_score[1:] != sorted_score[:-1])[: len(order)]) - 1
        mean = np.bincount(block, self._gain[order]) / np.maximum(1, np.bincount(block))
        found = self._per_list(mean[block] * self._discount)
        return np.divide(found, self._ideal, out=np.full(self._lists, np.nan), where=self._ideal > 0)

    def mean(self, score: Floats) -> float:
        """Return the mean over lists with a label above 0; NaN where there is none.

        >>> ListNDCG(np.array([0.0, 1.0]), np.array([5, 5])).mean(np.array([0.1, 0.2]))
        1.0
        """
        found = self.of(score)
        known = found[~np.isnan(found)]
        return float(known.mean()) if len(known) else float("nan")

    def _per_list(self, values: Floats) -> Floats:
        return np.bincount(self._number, values, minlength=self._lists).astype(np.float64)
