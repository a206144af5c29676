"""Calibration: Platt scaling on validation rows, shrunk towards the identity, and rescaling of quantities.

How far it is shrunk is decided by the log loss of rows that the calibration was not fitted on, the rows of an entity together; where no
calibration lowers it, none is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.metrics.classification import row_log_loss
from models.metrics.quantities import row_poisson_deviance
from models.training.calibration import Platt, fit_platt

Floats = npt.NDArray[np.float64]

FOLDS: Final = 5
SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How much of the fitted calibration is used; of equals the smallest."""

_TURNED: Final = "calibration: on validation a higher score did not mean more positives, so only the base rate was moved"


@dataclass(frozen=True)
class Calibrated:
    """A calibration, and what it does to rows that it was not fitted on.

    Attributes:
        platt: the calibration that is served.
        share: of the fitted one.
        held_out: [n] probability of each validation row by a calibration of the other folds.
    """

    platt: Platt
    share: float
    held_out: Floats


def calibrate(log_odds: Floats, label: Floats, entity: npt.NDArray[Any]) -> Calibrated:
    """Calibrate on validation rows.

    Args:
        log_odds: [n] of a model that was not fitted on these rows.
        label: [n] 0 or 1.
        entity: [n] whose row each is.
    """
    fold = np.unique(entity, return_inverse=True)[1] % FOLDS
    fitted = {held: fit_platt(log_odds[fold != held], label[fold != held]) for held in np.unique(fold)}
    ways = {}
    for share in SHARES:
        probability = np.zeros(len(label))
        for held, platt in fitted.items():
            probability[fold == held] = _shrunk(platt, share).probability(log_odds[fold == held])
        ways[share] = probability
    losses = {share: float(row_log_loss(label.astype(np.int64), probability).mean()) for share, probability in ways.items()}
    share = min(SHARES, key=lambda each: (losses[each], each))
    whole = fit_platt(log_odds, label)
    if share == 0.0:
        return Calibrated(Platt(note=whole.note if whole == Platt(note=whole.note) else ""), 0.0, ways[0.0])
    return Calibrated(_shrunk(whole, share), share, ways[share])


@dataclass(frozen=True)
class Level:
    """A factor of quantities, and what it does to rows that it was not fitted on.

    Attributes:
        factor: that is served.
        held_out: [n] quantity of each validation row by a factor of the other folds.
    """

    factor: float
    held_out: Floats


def calibrate_level(quantity: Floats, label: Floats, entity: npt.NDArray[Any]) -> Level:
    """Choose the factor that makes the total of validation rows right, shrunk towards 1 as probabilities are, by Poisson deviance.

    Args:
        quantity: [n] expected by a model that was not fitted on these rows, at least 0.
        label: [n] what came.
        entity: [n] whose row each is.
    """
    fold = np.unique(entity, return_inverse=True)[1] % FOLDS
    fitted = {held: _ratio(label[fold != held], quantity[fold != held]) for held in np.unique(fold)}
    ways = {share: quantity * np.array([fitted[each] ** share for each in fold]) for share in SHARES}
    losses = {share: float(row_poisson_deviance(label, found).mean()) for share, found in ways.items()}
    share = min(SHARES, key=lambda each: (losses[each], each))
    return Level(_ratio(label, quantity) ** share, ways[share])


def _ratio(label: Floats, quantity: Floats) -> float:
    return float(label.sum() / quantity.sum()) if label.sum() > 0 and quantity.sum() > 0 else 1.0


def _shrunk(platt: Platt, share: float) -> Platt:
    note = (
        "calibration: on validation a higher score did not mean more positives, so only the base rate was moved"
        if platt.note
        else ""
    )
    return Platt(1.0 + share * (platt.slope - 1.0), share * platt.intercept, note)
