"""Common code of the two factor models of the library ``implicit``: quiet training, and scores independent of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from models.questions.interactions import Floats

Factors = npt.NDArray[np.float32]


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold the linear algebra to one thread: ``implicit`` asks for it, and sums then run in one order."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


def products(queries: Factors, items: Factors | Floats) -> Factors:
    """Return [q, items] float32, the inner products of factors [q, f] and [items, f]; who asks often hands over the latter in float64.

    They are summed in float64 and then rounded. A matrix product runs its sums in an order that depends on the shapes; the rounding
    hides that, so a question asked alone gets the scores that it gets among others, and items of equal factors tie.
    """
    return (queries.astype(np.float64) @ items.astype(np.float64, copy=False).T).astype(np.float32)
