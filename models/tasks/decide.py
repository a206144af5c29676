"""The decision threshold with the lowest cost on validation rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.families.family import Floats
from models.metrics.decisions import cost_optimal_threshold

NEVER: Final = 2.0
"""A threshold that no probability reaches."""


@dataclass(frozen=True)
class Decision:
    """When a model's answer is yes.

    Attributes:
        threshold: the least probability that is a yes; ``NEVER`` where it is cheapest always to answer no.
        rule: how it came about, in words.
    """

    threshold: float
    rule: str


def choose_threshold(label: Floats, probability: Floats, false_positive: float, false_negative: float) -> Decision:
    """Choose the threshold that costs least on validation rows.

    Args:
        label: [n] 0 or 1.
        probability: [n] calibrated on other rows.
        false_positive: what a wrong yes costs, at least 0.
        false_negative: what a wrong no costs, at least 0.

    Returns:
        The decision; where the rows hold one class only, the threshold of calibrated probabilities (Elkan, IJCAI 2001).
    """
    costs = f"{false_positive:g} a wrong yes, {false_negative:g} a wrong no"
    if len(np.unique(label)) < 2:
        total = false_positive + false_negative
        least = false_positive / total if total else 0.5
        return Decision(
            least, f"the threshold of calibrated probabilities at these costs ({costs}): validation has one class only"
        )
    found = cost_optimal_threshold(label.astype(np.int64), probability, false_positive, false_negative)
    return Decision(NEVER if math.isinf(found) else found, f"costs least on {len(label):,} validation rows ({costs})")
