"""Significance of differences: paired permutation tests over users, with Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PERMUTATIONS: Final = 2_000
_CELLS = 4_000_000


def permutation_p_values(differences: Floats, users: npt.NDArray[Any], seed: int, permutations: int = PERMUTATIONS) -> Floats:
    """Return two-sided p-values of mean paired differences: the probability of one as large if the two models could be exchanged.

    The sign of all differences of a user flips together, since the rows of one user are not independent (Fisher, 1935; for retrieval
    Smucker, Allan and Carterette, CIKM 2007, https://doi.org/10.1145/1321440.1321528). The observed one counts among the permutations, so
    a value is never 0 (Phipson and Smyth, 2010, https://doi.org/10.2202/1544-6115.1585).

    Args:
        differences: [n, M] metrics of one model minus those of the other.
        users: [n] the user of each row.
        seed: fixes the permutations, the same for all M.
        permutations: how many are drawn.

    Returns:
        [M] p-values.

    >>> permutation_p_values(np.ones((30, 1)), np.arange(30), seed=0, permutations=999)
    array([0.001])
    """
    distinct, code = np.unique(users, return_inverse=True)
    by_user = np.zeros((len(distinct), differences.shape[1]))
    np.add.at(by_user, code, differences)
    observed = np.abs(by_user.sum(axis=0)) * (1 - 1e-12)
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS // max(1, len(distinct)))
    as_large = np.zeros(differences.shape[1])
    for start in range(0, permutations, step):
        flips = generator.integers(0, 2, size=(min(step, permutations - start), len(distinct)), dtype=np.int8)
        as_large += np.count_nonzero(np.abs((flips * 2.0 - 1.0) @ by_user) >= observed, axis=0)
    result: Floats = (as_large + 1) / (permutations + 1)
    return result


def bootstrap_p_value(draws: Floats) -> float | None:
    """Return the two-sided p-value of a difference from its bootstrap draws: twice the share on the far side of 0.

    It agrees with the percentile interval: below 5% exactly where the 95% interval leaves out 0 (Efron and Tibshirani, 1993, chapter 15).

    Args:
        draws: [resamples] the difference in each resample; NaN where it is not defined.

    >>> round(bootstrap_p_value(np.array([-1.0] + [1.0] * 98)), 2)
    0.04
    """
    known = draws[~np.isnan(draws)]
    if not len(known):
        return None
    tail = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    return min(1.0, 2.0 * (tail + 1) / (len(known) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for how many there are, so that the probability of any false claim stays below the level.

    The j-th smallest of m is multiplied by m - j + 1, and none is smaller than one before it (Holm, Scandinavian Journal of Statistics,
    1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    raised = np.minimum(np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * factors), 1.0)
    result = np.empty(len(p_values))
    result[order] = raised
    return [float(value) for value in result]
