"""A calibration of its own for each form of request, or the base rate where that is no worse.

The cart model is asked by strangers and by users, with recent items and without, and what it knows of each differs; one calibration for
all would be right on average and wrong for each. Whether a form's logits tell more than its base rate is decided on validation, each
user's rows by a calibration that was fitted on other users: the gain must exceed its own standard error over users, as validation has few
carts of a form and the base rate is the simpler model (the one-standard-error rule, Breiman et al., Classification and Regression
Trees, 1984, 3.4.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.errors import RunError
from models.calibration import CartHead, Platt, fit_head, fit_platt, head_features, sigmoid, smoothed
from models.data import Array
from models.metrics.classification import row_log_loss
from models.run_tables import read_json
from workflows.columns import FORMS

FOLDS: Final = 5


@dataclass(frozen=True)
class RequestRows:
    """Validation rows as requests ask for them, [N] each.

    Attributes:
        form: one of ``FORMS``.
        cart: the cart of each line.
        user: the shopper of each line.
        logit: uncalibrated.
        label: 0 or 1, whether the line is bought.
        cart_label: 0 or 1, whether anything in its cart is bought.
    """

    form: Array
    cart: Array
    user: Array
    logit: Array
    label: Array
    cart_label: Array

    def at(self, rows: Array) -> RequestRows:
        """Return the rows at ``rows`` (a mask or places)."""
        return RequestRows(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class FormCalibration:
    """How logits become probabilities in one form of request.

    Attributes:
        lines: of a line; slope 0 gives each the base rate.
        cart: of a cart; weights 0 give each the base rate.
        notes: sentences where the fit was not the usual one.
    """

    lines: Platt = field(default_factory=Platt)
    cart: CartHead = field(default_factory=CartHead)
    notes: tuple[str, ...] = ()


def fit_forms(rows: RequestRows, otherwise: FormCalibration) -> dict[str, FormCalibration]:
    """Fit a calibration for each form of request.

    A form with too few rows gets the calibration of all forms together, and where those are too few ``otherwise``.

    Args:
        rows: validation rows of all forms.
        otherwise: of the rows as the log has them.

    Returns:
        One for each of ``FORMS``.
    """
    together = _fit(rows, "all forms of request", otherwise)
    return {form: _fit(rows.at(rows.form == form), form, together) for form in FORMS}


def form_contents(forms: Mapping[str, FormCalibration]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``calibration.json`` and ``head.json`` hold under ``forms``."""
    heads = {
        form: {key: value for key, value in each.cart.content().items() if key != "features"} for form, each in forms.items()
    }
    return {form: each.lines.content() for form, each in forms.items()}, heads


def read_forms(folder: Path) -> dict[str, FormCalibration]:
    """Read the calibration of each form of request.

    Args:
        folder: ``models/cart`` of a run.

    Returns:
        One for each of ``FORMS``.

    Raises:
        RunError: if a file is missing or lacks a form or one of its numbers.
    """
    lines, carts = (read_json(folder / name).get("forms", {}) for name in ("calibration.json", "head.json"))
    try:
        return {
            form: FormCalibration(
                Platt(float(lines[form]["slope"]), float(lines[form]["intercept"])),
                CartHead(tuple(float(weight) for weight in carts[form]["weights"]), float(carts[form]["bias"])),
            )
            for form in FORMS
        }
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder}: the calibration of requests cannot be read ({error}).", "Run `cartwheel train` again."
        ) from None


def _fit(rows: RequestRows, name: str, otherwise: FormCalibration) -> FormCalibration:
    lines = fit_platt(rows.logit, rows.label)
    if lines.note and lines.slope == 1.0 and lines.intercept == 0.0:  # too few
        return otherwise
    notes = [f"{name}: {lines.note}"] if lines.note else []
    if not _beats_base_rate(rows.label, rows.user, lambda fit, held: _line_chances(rows, fit, held)):
        lines = Platt(0.0, _log_odds(rows.label))
        notes.append(_fallen("line", name, rows.label))
    features, first = head_features(rows.cart, rows.logit)
    label = rows.cart_label[first]
    head = fit_head(features, label, lines)
    if head.note:
        notes.append(f"{name}: {head.note}")
    elif not _beats_base_rate(label, rows.user[first], lambda fit, held: _cart_chances(features, label, lines, fit, held)):
        head = CartHead((0.0, 0.0, 0.0), _log_odds(label))
        notes.append(_fallen("cart", name, label))
    return FormCalibration(lines, head, tuple(notes))


def _fallen(what: str, name: str, label: Array) -> str:
    rate = f"{float(label.mean()):.3f}"
    return f"{name}: on validation the model tells no more of a {what} than the base rate {rate}, so every {what} gets that"


def _folds(user: Array) -> Array:
    """Return the fold of each row, int64 [N]; all rows of a user are in one."""
    return np.unique(user, return_inverse=True)[1] % FOLDS


def _beats_base_rate(label: Array, user: Array, chances: Callable[[Array, Array], Array]) -> bool:
    """Tell whether the log loss of held-out rows lies below that of the base rate of the other rows, by more than its standard error.

    Args:
        label: 0 or 1, [N].
        user: whose row each is, [N]; the standard error is over users.
        chances: returns the probabilities of held-out rows, fitted on others; both are masks [N].
    """
    folds, gain = _folds(user), np.zeros(len(label))
    for fold in np.unique(folds):
        held = folds == fold
        fit = ~held
        if not 0 < label[fit].sum() < fit.sum():
            return False
        base = np.full(held.sum(), smoothed(label[fit]).mean())
        gain[held] = row_log_loss(label[held], base) - row_log_loss(label[held], chances(fit, held))
    # Of the mean of rows that come in clusters: the sum of a user's deviations counts as one.
    deviations = np.bincount(np.unique(user, return_inverse=True)[1], weights=gain - gain.mean())
    return bool(gain.mean() > np.sqrt(np.square(deviations).sum()) / len(label))


def _line_chances(rows: RequestRows, fit: Array, held: Array) -> Array:
    return fit_platt(rows.logit[fit], rows.label[fit]).probability(rows.logit[held])


def _cart_chances(features: Array, label: Array, lines: Platt, fit: Array, held: Array) -> Array:
    return sigmoid(fit_head(features[fit], label[fit], lines).log_odds(features[held], lines))


def _log_odds(label: Array) -> float:
    rate = float(smoothed(label).mean())
    return math.log(rate) - math.log1p(-rate)
