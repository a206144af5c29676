"""A calibration of its own for each form of request and size of cart, no further from the base rate than held-out shoppers bear out.

The cart model is asked by strangers and by users, with recent items and without, and what it knows of each differs; one calibration for
all would be right on average and wrong for each. So would one for carts of one line and of several: most lines are in the large carts,
whose lines are bought otherwise, and a cart of one line is bought exactly where its line is, so both must get one chance. But validation
has few shoppers of a form, and all forms ask for the same carts; so the forms share what they have in common (see ``evidence``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import ModelLayout
from cartwheel.core.tables import read_json
from models.training.base_rates import BaseRates
from models.training.calibration import CartHead, Platt, cart_bounds, fit_platt, head_features, too_few
from models.training.evidence import GroupedRows, Logistic, fit_groups, log_odds_of
from models.training.tables import Array
from workflows.features.columns import FORMS, ONE_LINE, SEVERAL_LINES, SIZES

_NOTHING: Final = (0.0, 0.0, 0.0)
AS_LOGGED: Final = "as logged"
"""The form of rows as the log has them."""


@dataclass(frozen=True)
class RequestRows:
    """Validation rows as requests ask for them, or as the log has them, [N] each.

    Attributes:
        form: one of ``FORMS``, or ``AS_LOGGED``.
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


def fit_log(rows: RequestRows, rates: BaseRates | None = None) -> FormCalibration:
    """Fit the calibration of carts as the log has them, whatever their size.

    Args:
        rows: validation rows of the log.
        rates: base rates of training; without them those of the rows.

    Returns:
        Platt scaling of the lines, and a head no further from the base rate than held-out users bear out.
    """
    lines = fit_platt(rows.logit, rows.label)
    head, notes = _fit_heads(
        rows, (AS_LOGGED,), {AS_LOGGED: lines}, lambda _: "", {AS_LOGGED: rates.of_carts()} if rates else {}
    )[AS_LOGGED]
    return FormCalibration(lines, head, (*([lines.note] if lines.note else []), *notes))


def fit_forms(rows: RequestRows, otherwise: FormCalibration, rates: BaseRates | None = None) -> dict[str, BySize]:
    """Fit a calibration for each form of request and size of cart.

    A form with too few rows of a size gets the calibration of that size in all forms together, at the base rate of its training rows;
    where those are too few, that base rate, and without one ``otherwise``.

    Args:
        rows: validation rows of all forms, the rows of a cart being its distinct lines.
        otherwise: of the rows as the log has them.
        rates: base rates of training; without them those of the rows.

    Returns:
        One for each of ``FORMS`` and ``SIZES``.
    """
    several = have_several(rows.cart)
    fitted: dict[str, BySize] = {form: {} for form in FORMS}
    for size in SIZES:
        for form, own in _fit_size(rows.at(several == (size == SEVERAL_LINES)), size, otherwise, rates).items():
            fitted[form][size] = own
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
    place = {name: number for number, name in enumerate(np.asarray(cart)[first])}
    of_line = np.array([place[name] for name in cart], dtype=np.intp)
    for size, own in by_size.items():
        rows = several == (size == SEVERAL_LINES)
        lines[rows] = own.lines.slope * logit[rows] + own.lines.intercept
        carts[rows[first]] = own.cart.log_odds(features[rows[first]], own.lines)
        lines[rows] = own.cart.capped(lines[rows], carts[of_line[rows]], own.lines)
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


def _fit_size(rows: RequestRows, size: str, otherwise: FormCalibration, rates: BaseRates | None) -> BySize:
    """Return the calibration of carts of one size in each of ``FORMS``."""
    if rates and too_few(rows.label, ""):
        return {form: _base_rates(rates, form, size) for form in FORMS}
    if too_few(rows.label, ""):
        lines = otherwise.lines
        return dict.fromkeys(FORMS, FormCalibration(lines, CartHead.of_line(lines)) if size == ONE_LINE else otherwise)

    def name(form: str) -> str:
        return f"{form}, carts of {size}: "

    nowhere = np.full(len(rows.label), np.inf)
    grouped = GroupedRows(rows.logit.astype(np.float64)[:, None], rows.label, rows.user, rows.form, -nowhere, nowhere)
    together, own = fit_groups(
        grouped, FORMS, rising=True, known={form: rates.of_lines(form, size) for form in FORMS} if rates else {}
    )
    calibrations = {}
    for form in FORMS:
        found = own.get(form, together)
        platt = Platt(float(found.weights[0]), found.bias)
        notes = () if platt.slope else (name(form) + _fallen("line", found),)
        calibrations[form] = FormCalibration(platt, CartHead.of_line(platt), notes)
    if size == ONE_LINE:
        return calibrations
    known = {form: rates.of_carts(form, size) for form in FORMS} if rates else {}
    heads = _fit_heads(rows, FORMS, {form: each.lines for form, each in calibrations.items()}, name, known)
    return {
        form: FormCalibration(each.lines, heads[form][0], (*each.notes, *heads[form][1])) for form, each in calibrations.items()
    }


def _base_rates(rates: BaseRates, form: str, size: str) -> FormCalibration:
    """Return the calibration that gives every line and cart of a size what training knows of them."""
    lines = Platt(0.0, log_odds_of(rates.of_lines(form, size)))
    head = CartHead(_NOTHING, log_odds_of(rates.of_carts(form, size)))
    note = f"{form}, carts of {size}: too few in validation, so all get the base rates of training"
    return FormCalibration(lines, CartHead.of_line(lines) if size == ONE_LINE else head, (note,))


def _fit_heads(
    rows: RequestRows,
    forms: Sequence[str],
    lines: Mapping[str, Platt],
    name: Callable[[str], str],
    known: Mapping[str, float],
) -> dict[str, tuple[CartHead, tuple[str, ...]]]:
    """Return the head of carts in each form, and a sentence where it is not the usual one."""
    features, first = head_features(rows.cart, rows.logit)
    label, form = rows.cart_label[first], rows.form[first]
    reason = too_few(label, "validation carts")
    if reason and known:
        note = f"cart head: {reason}, so every cart gets the base rate of training"
        return {each: (CartHead(_NOTHING, log_odds_of(known[each])), (name(each) + note,)) for each in forms}
    if reason:
        note = f"cart head: {reason}, so a cart gets the chance of its likeliest line"
        return {each: (CartHead.of_line(lines[each]), (name(each) + note,)) for each in forms}
    least, most = np.full(len(label), -np.inf), np.full(len(label), np.inf)
    for each in forms:
        if lines[each].slope:  # base rates of carts and of lines do not bound each other
            mine = form == each
            least[mine], most[mine] = cart_bounds(features[mine], lines[each])
    together, own = fit_groups(GroupedRows(features, label, rows.user[first], form, least, most), forms, known=known)
    heads: dict[str, tuple[CartHead, tuple[str, ...]]] = {}
    for each in forms:
        found = own.get(each, together)
        head = CartHead(tuple(float(weight) for weight in found.weights), found.bias)
        heads[each] = head, () if any(head.weights) else (name(each) + _fallen("cart", found),)
    return heads


def _fallen(what: str, base: Logistic) -> str:
    rate = f"{1.0 / (1.0 + math.exp(-base.bias)):.3f}"
    return f"on validation the model tells no more of a {what} than the base rate {rate}, so every {what} gets that"
