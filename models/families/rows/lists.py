"""Common code of ranking families: metrics of validation lists, and the listwise loss in NumPy.

The loss of a list is the cross-entropy between its labels, divided by their sum, and the softmax of its scores: ListNet's (Cao et al.,
ICML 2007) with labels as the distribution; with one chosen row the conditional logit (McFadden, 1974). Bruch et al. (ICTIR 2019) show
that it bounds NDCG. Lists without a label above 0 have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from models.families.family import Floats, Ints, TrainingData
from models.metrics.grouped import ListNDCG, Lists

PLACES: Final = 10
"""First places of a list that decide on validation."""
_CHUNK: Final = 65_536


def validation_ndcg(data: TrainingData) -> ListNDCG:
    """Return the NDCG at 10 of validation lists."""
    groups = np.zeros(0, np.int64) if data.valid_groups is None else data.valid_groups
    return ListNDCG(data.valid_label, groups, PLACES)


def fit_conditional_logit(
    rows: npt.NDArray[np.float32],
    label: Floats,
    groups: Ints,
    numbers: npt.NDArray[np.bool_],
    l2: float,
    max_steps: int,
    positive: npt.NDArray[np.bool_] | None = None,
) -> tuple[Floats, bool]:
    """Fit weights that order lists, by L-BFGS (Liu and Nocedal, 1989).

    Args:
        rows: [N, width].
        label: [N] grades.
        groups: [N] the list of each row; those of a list follow one another.
        numbers: [width] whether a column is a number: it is penalised in units of its standard deviation within lists.
        l2: weight of the squared weights, halved, in the loss summed over lists.
        max_steps: most steps.
        positive: [width] whether a weight must not be below 0; None where all may be.

    Returns:
        [width] weights, 0 of columns that are constant within every list; and whether the solver converged.
    """
    from scipy.optimize import minimize

    lists = Lists.of(groups)
    kept = lists.differing(label)
    weights = np.zeros(rows.shape[1])
    if not kept.any():
        return weights, True
    held = np.repeat(kept, lists.sizes)
    problem = _Problem(rows if held.all() else rows[held], label[held], Lists.of(groups[held]), numbers, l2)
    if not problem.width:
        return weights, True
    bounded = np.zeros(problem.width, bool) if positive is None else positive[problem.varying]
    found = minimize(
        problem.loss,
        np.zeros(problem.width),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0 if at_least_zero else None, None) for at_least_zero in bounded],
        options={"maxiter": max_steps, "ftol": 1e-9, "gtol": 1e-6},
    )
    weights[problem.varying] = found.x / problem.scale
    return weights, bool(found.status != 1)


class _Problem:
    """The loss and its gradient, a chunk of lists at a time, so that float64 sums need no float64 copy of all rows."""

    def __init__(
        self, rows: npt.NDArray[np.float32], label: Floats, lists: Lists, numbers: npt.NDArray[np.bool_], l2: float
    ) -> None:
        self._rows, self._lists = rows, lists
        self._l2 = l2 / len(lists)
        self._target = label / np.repeat(np.add.reduceat(label, lists.starts), lists.sizes)
        spread = self._spread()
        self.varying = np.flatnonzero(spread > 0)
        self.width = len(self.varying)
        self.scale = np.where(numbers, spread, 1.0)[self.varying]

    def _chunks(self) -> Iterator[tuple[slice, Ints, Ints]]:
        """Return the rows of some lists, where each starts among them, and their sizes."""
        ends = np.cumsum(self._lists.sizes)
        first = 0
        while first < len(self._lists):
            begin = int(self._lists.starts[first])
            last = max(first + 1, int(np.searchsorted(ends, begin + _CHUNK, side="right")))
            yield (
                slice(begin, int(ends[last - 1])),
                self._lists.starts[first:last] - begin,
                self._lists.sizes[first:last],
            )
            first = last

    def _spread(self) -> Floats:
        """Return [width] the standard deviation within lists: exactly 0 where all lists are constant."""
        total = np.zeros(self._rows.shape[1])
        for where, starts, sizes in self._chunks():
            some = self._rows[where].astype(np.float64)
            some -= np.repeat(some[starts], sizes, axis=0)
            sums = np.add.reduceat(some, starts, axis=0)
            total += np.maximum(0.0, np.einsum("nd,nd->d", some, some) - np.einsum("ld,ld,l->d", sums, sums, 1.0 / sizes))
        return np.asarray(np.sqrt(total / len(self._rows)))

    def loss(self, scaled: Floats) -> tuple[float, Floats]:
        """Return the mean loss of a list with its penalty, and the gradient."""
        weights = scaled / self.scale
        loss, gradient = 0.0, np.zeros(self.width)
        for where, starts, sizes in self._chunks():
            some = self._rows[where][:, self.varying].astype(np.float64)
            score, target = some @ weights, self._target[where]
            score -= np.repeat(np.maximum.reduceat(score, starts), sizes)
            power = np.exp(score)
            total = np.add.reduceat(power, starts)
            loss += float(np.log(total).sum() - target @ score)
            gradient += (power / np.repeat(total, sizes) - target) @ some
        lists = len(self._lists)
        penalty = 0.5 * self._l2 * float(scaled @ scaled)
        return loss / lists + penalty, gradient / self.scale / lists + self._l2 * scaled
