"""What a baseline of probabilities is: learns from encoded rows and 0/1 labels, and gives log odds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import polars as pl

from models.metrics.classification import Floats, Labels


class RowLearner(Protocol):
    """A baseline of rows, such as pairs to rank or lines of a cart. One answers alike whatever other rows are asked about."""

    def logit(self, table: pl.DataFrame) -> Floats:
        """Return the log odds of label 1 of encoded rows, [n] float64, finite; [0] for no rows."""


class CartLearner(Protocol):
    """A baseline of whole carts. One answers alike whatever other carts are asked about, and in whichever order their lines come."""

    def logit(self, table: pl.DataFrame, cart: pl.Series) -> Floats:
        """Return the log odds of each cart, [carts] float64, finite, in the order in which carts first appear.

        Args:
            table: [n] encoded lines.
            cart: [n] cart of each line.
        """


MakeRowLearner = Callable[[pl.DataFrame, Labels, int], RowLearner]
"""(training rows, their labels of both classes, seed) -> the fitted baseline; a ``ValueError`` where there is one class only."""
MakeCartLearner = Callable[[pl.DataFrame, Labels, pl.Series, int], CartLearner]
"""(training lines, their labels, their carts, seed) -> the fitted baseline; a cart's label is the highest of its lines."""
