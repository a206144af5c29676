"""The decision threshold: given, or chosen on validation rows, never on test rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from evaluation.settings import EvaluateSettings
from models.metrics.classification import Floats, Labels
from models.metrics.decisions import cost_optimal_threshold, f1_optimal_threshold


@dataclass(frozen=True)
class Threshold:
    """From which probability on a model's answer is a yes."""

    least: float
    """Infinity where it never is one; NaN where nothing could choose it."""
    rule: str
    """Who or what chose it, in words that are the same for all models of a task."""

    @property
    def remark(self) -> str:
        """What it is, in words; empty where there is none.

        >>> Threshold(0.25, "as set").remark
        'yes from 0.25 on'
        """
        if math.isnan(self.least):
            return ""
        return f"yes from {self.least:.6g} on" if math.isfinite(self.least) else "never yes"


def given_threshold(settings: EvaluateSettings) -> Threshold | None:
    """Return the threshold that the settings give as a number; None where they leave it to validation rows."""
    if isinstance(settings.threshold, str):
        return None
    return Threshold(settings.threshold, f"yes from {settings.threshold:g} on, as set")


def chosen_threshold(label: Labels, probability: Floats, settings: EvaluateSettings, split: str) -> Threshold:
    """Return the threshold that is best for a model on validation rows.

    Args:
        label: [n] 0 or 1.
        probability: [n] of the model.
        settings: what best means: the highest F1, or the lowest cost.
        split: what the rule calls the rows.

    Returns:
        One of the probabilities, or infinity; the highest of those that are as good. NaN where not both labels are there.
    """
    positives = int(label.sum())
    false_positive, false_negative = settings.cost_of_false_positive, settings.cost_of_false_negative
    find: Callable[[Labels, Floats], float] = f1_optimal_threshold
    best = "has the highest F1"
    if false_positive is not None and false_negative is not None:  # both or neither, as the settings see to
        find = partial(cost_optimal_threshold, false_positive=false_positive, false_negative=false_negative)
        best = f"costs least ({false_positive:g} a wrong yes, {false_negative:g} a wrong no)"
    where = f"{len(label):,} rows of the {split} split, {positives:,} of them positive"
    least = find(label, probability) if 0 < positives < len(label) else math.nan
    return Threshold(least, f"yes from the threshold on that {best} for the model on {where}")
