"""Permutation importance: how much worse a model ranks rows after one of its inputs is shuffled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.metrics.classification import Floats, Labels, roc_auc

Columns = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Importance:
    """How much ROC AUC a model loses without the information in one input.

    Attributes:
        column: the input.
        drop: mean over the shuffles; near 0 where the model does not use it, below 0 where it does better without.
        least: of the smallest shuffle.
        most: of the largest.
    """

    column: str
    drop: float
    least: float
    most: float


def permutation_importance(
    score: Callable[[Columns], Floats], columns: Columns, label: Labels, seed: int, repeats: int = 3
) -> list[Importance]:
    """Shuffle each input in turn and judge the model again.

    Breiman, Machine Learning 45, 2001, https://doi.org/10.1023/A:1010933404324. Inputs that tell the same share their importance: where
    one is shuffled, the model still has the other.

    Args:
        score: gives [n] scores of n rows.
        columns: input -> [n, ...] values.
        label: [n] 0 or 1.
        seed: fixes the shuffles.
        repeats: shuffles of each input.

    Returns:
        One an input, the most important first; NaN where the labels are of one class.
    """
    whole = roc_auc(label, score(columns))
    generator = np.random.default_rng(seed)
    found = []
    for name, values in columns.items():
        drops = [
            whole - roc_auc(label, score({**columns, name: values[generator.permutation(len(label))]})) for _ in range(repeats)
        ]
        found.append(Importance(name, float(np.mean(drops)), min(drops), max(drops)))
    return sorted(found, key=lambda each: -each.drop)
