"""A calibration of its own for each form of request and size of cart, or the base rate where that is no worse.

The cart model is asked by strangers and by users, with recent items and without, and what it knows of each differs; one calibration for
all would be right on average and wrong for each. So would one for carts of one line and of several: most lines are in the large carts,
whose lines are bought otherwise, and a cart of one line is bought exactly where its line is, so both must get one chance. Whether the
logits of a form and size tell more than its base rate is decided on validation, each user's rows by a calibration that was fitted on
other users: the gain must exceed its own standard error over users, as validation has few carts of a form and the base rate is the simpler
model (the one-standard-error rule, Breiman et al., Classification and Regression Trees, 1984, 3.4.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import ModelLayout
from cartwheel.core.tables import read_json
from models.metrics.classification import row_log_loss
from models.training.calibration import CartHead, Platt, fit_head, fit_platt, head_features, sigmoid, smoothed
from models.training.tables import Array
from workflows.features.columns import FORMS, ONE_LINE, SEVERAL_LINES, SIZES

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
    """How logits become probabilities in one form of request, for carts of one size.

    Attributes:
        lines: of a line; slope 0 gives each the base rate.
        cart: of a cart; weights 0 give each the base rate, within the bounds of its lines.
        notes: sentences where the fit was not the usual one.
    """

    lines: Platt = field(default_factory=Platt)
    cart: CartHead = field(default_factory=CartHead)
    notes: tuple[str, ...] = ()


BySize = dict[str, FormCalibration]
"""One calibration for each of ``SIZES``."""


def fit_forms(rows: RequestRows, otherwise: FormCalibration) -> dict[str, BySize]:
    """Fit a calibration for each form of request and size of cart.

    A form with too few rows of a size gets the calibration of that size in all forms together, and where those are too few
    ``otherwise``.

    Args:
        rows: validation rows of all forms, the rows of a cart being its distinct lines.
        otherwise: of the rows as the log has them.

    Returns:
        One for each of ``FORMS`` and ``SIZES``.
    """
    several = have_several(rows.cart)
    fitted: dict[str, BySize] = {form: {} for form in FORMS}
    for size in SIZES:
        own = rows.at(several == (size == SEVERAL_LINES))
        together = _fit(own, "all forms of request", size, otherwise)
        for form in FORMS:
            fitted[form][size] = _fit(own.at(own.form == form), form, size, together)
    return fitted


def have_several(cart: Array) -> Array:
    """Tell of each line whether its cart has other lines too, bool [N]."""
    _, inverse, counts = np.unique(cart, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)


def form_log_odds(by_size: BySize, cart: Array, logit: Array) -> tuple[Array, Array, Array]:
    """Return what a form of request is answered, float64.

    Args:
        by_size: the calibration of the form.
        cart: the cart of each line, [N].
        logit: of each line, uncalibrated, [N].

    Returns:
        The log-odds of each line [N]; those of each cart [C], in the order in which carts first appear; the first line of each [C].
    """
    several = have_several(cart)
    features, first = head_features(cart, logit)
    lines, carts = np.zeros(len(logit)), np.zeros(len(first))
    for size, own in by_size.items():
        rows = several == (size == SEVERAL_LINES)
        lines[rows] = own.lines.slope * logit[rows] + own.lines.intercept
        carts[rows[first]] = own.cart.log_odds(features[rows[first]], own.lines)
    return lines, carts, first


def form_contents(forms: Mapping[str, BySize]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``calibration.json`` and ``head.json`` hold under ``forms``; the head of carts of one line is that line's calibration."""
    lines = {form: {size: own.lines.content() for size, own in each.items()} for form, each in forms.items()}
    heads = {form: each[SEVERAL_LINES].cart.content() for form, each in forms.items()}
    return lines, {form: {key: value for key, value in each.items() if key != "features"} for form, each in heads.items()}


def read_forms(folder: Path) -> dict[str, BySize]:
    """Read the calibration of each form of request.

    Args:
        folder: ``models/cart`` of a run.

    Returns:
        One for each of ``FORMS`` and ``SIZES``.

    Raises:
        RunError: if a file is missing or lacks a form, a size or one of its numbers.
    """
    lines, carts = (read_json(file).get("forms", {}) for file in (ModelLayout(folder).calibration, ModelLayout(folder).head))
    try:
        return {form: _read_form(lines[form], carts[form]) for form in FORMS}
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder}: the calibration of requests cannot be read ({error}).", "Run `cartwheel train` again."
        ) from None


def _read_form(lines: Mapping[str, Mapping[str, Any]], head: Mapping[str, Any]) -> BySize:
    one, several = (Platt(float(lines[size]["slope"]), float(lines[size]["intercept"])) for size in SIZES)
    cart = CartHead(tuple(float(weight) for weight in head["weights"]), float(head["bias"]))
    return {ONE_LINE: FormCalibration(one, CartHead.of_line(one)), SEVERAL_LINES: FormCalibration(several, cart)}


def _fit(rows: RequestRows, form: str, size: str, otherwise: FormCalibration) -> FormCalibration:
    name = f"{form}, carts of {size}"
    lines = fit_platt(rows.logit, rows.label)
    if lines.note and lines.slope == 1.0 and lines.intercept == 0.0:  # too few
        return otherwise if size == SEVERAL_LINES else FormCalibration(otherwise.lines, CartHead.of_line(otherwise.lines))
    notes = [f"{name}: {lines.note}"] if lines.note else []
    if not _beats_base_rate(rows.label, rows.user, lambda fit, held: _line_chances(rows, fit, held)):
        lines = Platt(0.0, _log_odds(rows.label))
        notes.append(_fallen("line", name, rows.label))
    if size == ONE_LINE:
        return FormCalibration(lines, CartHead.of_line(lines), tuple(notes))
    head, more = _fit_head(rows, name, lines)
    return FormCalibration(lines, head, (*notes, *more))


def _fit_head(rows: RequestRows, name: str, lines: Platt) -> tuple[CartHead, list[str]]:
    """Return the head of carts of several lines, and sentences where it is not the usual one."""
    features, first = head_features(rows.cart, rows.logit)
    label = rows.cart_label[first]
    head = fit_head(features, label, lines)
    if head.note:
        return head, [f"{name}: {head.note}"]
    if _beats_base_rate(label, rows.user[first], lambda fit, held: _cart_chances(features, label, lines, fit, held)):
        return head, []
    return CartHead((0.0, 0.0, 0.0), _log_odds(label)), [_fallen("cart", name, label)]


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
