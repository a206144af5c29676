"""Could a difference be chance? Paired permutation tests over users, and Holm's correction over a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PERMUTATIONS: Final = 10_000
_CELLS = 4_000_000


def permutation_p_value(difference: Floats, users: npt.NDArray[Any], seed: int, permutations: int = PERMUTATIONS) -> float:
    """Return the two-sided p-value of a mean paired difference: the chance of one as large if the two models could be exchanged.

    The sign of all differences of a user flips together, since the rows of one user are not independent (Fisher, 1935; for retrieval
    Smucker, Allan and Carterette, CIKM 2007, https://doi.org/10.1145/1321440.1321528). The observed one counts among the permutations, so
    the value is never 0 (Phipson and Smyth, 2010, https://doi.org/10.2202/1544-6115.1585).

    Args:
        difference: [n] metric of one model minus that of the other.
        users: [n] the user of each row.
        seed: fixes the permutations.
        permutations: how many are drawn.

    >>> permutation_p_value(np.ones(3), np.arange(3), seed=0, permutations=999) > 0.2  # 2 of 8 sign patterns are as large
    True
    >>> permutation_p_value(np.ones(30), np.arange(30), seed=0, permutations=999)
    0.001
    """
    _, code = np.unique(users, return_inverse=True)
    by_user = np.bincount(code, weights=difference).astype(np.float64)
    observed = abs(float(by_user.sum()))
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS // max(1, len(by_user)))
    as_large = 0
    for start in range(0, permutations, step):
        signs = generator.integers(0, 2, size=(min(step, permutations - start), len(by_user)), dtype=np.int8) * 2 - 1
        as_large += int(np.count_nonzero(np.abs(signs @ by_user) >= observed * (1 - 1e-12)))
    return (as_large + 1) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for how many there are, so that the chance of any false claim stays below the level.

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
