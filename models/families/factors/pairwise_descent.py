"""Stochastic gradient ascent on pairs of items with uniformly drawn negatives. Imported only where it runs, because it needs numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from cartwheel.core.compiled_loops import compiled
from cartwheel.core.progress import Advance
from models.families.factors.factors import Factors
from models.questions.interactions import Bools, Ints


def climb(
    matrix: Any,
    factors: int,
    learning_rate: float,
    l2: float,
    iterations: int,
    generator: np.random.Generator,
    advance: Advance,
) -> tuple[Factors, Factors]:
    """Learn factors and item biases from pairs, one pair at a time.

    An iteration draws as many pairs as there are interactions, with replacement: an interaction, and an item uniformly from all. Where
    the user has that item too, the pair is left out.

    Args:
        matrix: ``scipy.sparse.csr_matrix`` [users, items], not 0 where a user interacted with an item.
        factors: how many, the bias not counted.
        learning_rate: of the ascent.
        l2: penalty.
        iterations: passes.
        generator: of the first factors, which are uniform within 0.5 / factors of 0, and of the draws.
        advance: called after each pass.

    Returns:
        [users, factors + 1] the last 1, and [items, factors + 1] the last the bias; float32.
    """
    users, items = matrix.shape
    user = np.repeat(np.arange(users), np.diff(matrix.indptr))
    item = matrix.indices.astype(np.int64)
    pairs = np.sort(user * items + item)
    of_user, of_item = (((generator.random((n, factors)) - 0.5) / factors).astype(np.float32) for n in (users, items))
    bias = np.zeros(items, np.float32)
    for _ in range(iterations):
        drawn = generator.integers(len(user), size=len(user))
        other = generator.integers(items, size=len(user))
        kept = ~_among(pairs, user[drawn] * items + other)
        chosen = drawn[kept]
        ascend(user[chosen], item[chosen], other[kept], of_user, of_item, bias, np.float32(learning_rate), np.float32(l2))
        advance()
    return np.column_stack([of_user, np.ones(users, np.float32)]), np.column_stack([of_item, bias])


def _among(ordered: Ints, wanted: Ints) -> Bools:
    found: Bools = ordered[np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)] == wanted
    return found


@compiled(fastmath=True)
def ascend(
    user: Ints, item: Ints, other: Ints, of_user: Factors, of_item: Factors, bias: Factors, rate: np.float32, l2: np.float32
) -> None:
    """Take one step for each pair, in order; the last three arrays of numbers are changed in place."""
    one = np.float32(1.0)
    for step in range(len(user)):
        asker, better, worse = of_user[user[step]], of_item[item[step]], of_item[other[step]]
        lead = bias[item[step]] - bias[other[step]]
        for place in range(len(asker)):
            lead += asker[place] * (better[place] - worse[place])
        slope = one / (one + np.exp(lead))
        for place in range(len(asker)):
            mine = asker[place]
            asker[place] += rate * (slope * (better[place] - worse[place]) - l2 * mine)
            better[place] += rate * (slope * mine - l2 * better[place])
            worse[place] += rate * (-slope * mine - l2 * worse[place])
        bias[item[step]] += rate * (slope - l2 * bias[item[step]])
        bias[other[step]] += rate * (-slope - l2 * bias[other[step]])
