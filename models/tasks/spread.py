"""Prediction intervals with a stated coverage, and order quantities at the costs.

Split conformal prediction on validation rows (Lei et al., JASA 2018, https://doi.org/10.1080/01621459.2017.1307116), the distance from what
was expected in units of the root of the quantity, within bins of the quantity (Mondrian: Vovk et al., Algorithmic Learning in a Random
World, 2005, 4.5). How much to have is the newsvendor's quantile: too little costs what a wrong no does, too much what a wrong yes does
(Arrow, Harris and Marschak, Econometrica 1951).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.families.family import Floats

BINS: Final = 10
ROWS_A_BIN: Final = 100
_BASE: Final = 0.1
_LEAST: Final = 1e-6


@dataclass(frozen=True)
class Spread:
    """Multiples of a row's unit, sqrt(quantity + base), by bins of the quantity.

    Attributes:
        coverage: share of cases that an interval is to hold.
        base: added to the quantity under the root, so that it has a unit at 0.
        edges: upper ends of all bins but the last, ascending.
        widths: [bins] how far an interval reaches to either side.
        orders: [bins] how far above what is expected lies what to have.
    """

    coverage: float
    base: float
    edges: tuple[float, ...]
    widths: tuple[float, ...]
    orders: tuple[float, ...]

    def bounds(self, quantity: Floats) -> tuple[Floats, Floats, Floats]:
        """Return [n] low and high end of the interval, and how much to have, each at least 0."""
        place = np.searchsorted(np.asarray(self.edges), quantity, side="left")
        unit = np.sqrt(np.maximum(quantity, 0.0) + self.base)
        width, above = (np.asarray(each)[place] * unit for each in (self.widths, self.orders))
        low, high, order = quantity - width, quantity + width, quantity + above
        return np.maximum(low, 0.0), np.maximum(high, 0.0), np.maximum(order, 0.0)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Spread:
        """Return the spread that ``dataclasses.asdict`` described."""
        ends = (tuple(content[name]) for name in ("edges", "widths", "orders"))
        return Spread(float(content["coverage"]), float(content["base"]), *ends)


def fit_spread(quantity: Floats, label: Floats, coverage: float, too_much: float, too_little: float) -> Spread:
    """Fit the spread to validation rows.

    Args:
        quantity: [n] expected by a model that was not fitted on these rows; at least one row.
        label: [n] what came.
        coverage: share of cases that an interval is to hold.
        too_much: what one too many costs.
        too_little: what one too few costs.
    """
    bins = max(1, min(BINS, len(label) // ROWS_A_BIN))
    ordered = np.sort(quantity)
    places = [len(ordered) * number // bins for number in range(1, bins)]
    edges = np.unique([(ordered[place - 1] + ordered[place]) / 2 for place in places])
    edges = edges[(edges > ordered[0]) & (edges < ordered[-1])]
    place = np.searchsorted(edges, quantity, side="left")
    base = max(_BASE * float(quantity.mean()), _LEAST)
    apart = (label - quantity) / np.sqrt(np.maximum(quantity, 0.0) + base)
    total = too_much + too_little
    level = too_little / total if total else 0.5
    parts = [apart[place == number] for number in range(len(edges) + 1)]
    widths = tuple(_quantile(np.abs(part), coverage) for part in parts)
    return Spread(coverage, base, tuple(map(float, edges)), widths, tuple(_quantile(part, level) for part in parts))


def order_cost(actual: Floats, order: Floats, too_much: float, too_little: float) -> Floats:
    """Return [n] what having ``order`` cost where ``actual`` was wanted.

    >>> order_cost(np.array([3.0, 1.0]), np.array([1.0, 2.0]), too_much=1.0, too_little=4.0)
    array([8., 1.])
    """
    return np.asarray(np.maximum(order - actual, 0.0) * too_much + np.maximum(actual - order, 0.0) * too_little, np.float64)


def _quantile(values: Floats, level: float) -> float:
    """Return the conformal quantile: the ceil((n + 1) level)-th smallest, the largest where there are too few.

    >>> _quantile(np.array([3.0, 1.0, 2.0]), 0.5)
    2.0
    """
    if not len(values):
        return 0.0
    place = min(max(math.ceil((len(values) + 1) * level), 1), len(values)) - 1
    return float(np.partition(values, place)[place])
