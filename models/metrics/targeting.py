"""Metrics of targeting: how well a score ranks rows by treatment effect, for randomly treated rows.

People are treated in the order of their predicted uplift. Those of equal score are taken together, so a curve runs straight between
groups and a constant score gets exactly what treating at random gets.
"""

from __future__ import annotations

import numpy as np

from models.metrics.classification import Floats, Numbers


def uplift_curve(outcome: Numbers, treated: Numbers, uplift: Numbers) -> tuple[Floats, Floats]:
    """Return how many are targeted and the extra outcomes that this brings, for each distinct score, highest first, from (0, 0).

    With n people targeted, of them n_t treated and n_c not, and y_t and y_c outcomes among those, the gain is
    (y_t / n_t - y_c / n_c) n (Rzepakowski and Jaroszewicz, KAIS 2012, https://doi.org/10.1007/s10115-011-0434-0). A share of an empty arm
    counts as 0.

    Args:
        outcome: [n] 0 or 1.
        treated: [n] 0 or 1.
        uplift: [n] predicted effect of the treatment, higher is targeted first.

    >>> uplift_curve(np.array([1, 0, 0, 1]), np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.1, 0.1]))
    (array([0., 2., 4.]), array([0., 2., 0.]))
    """
    number, treated_number, treated_outcome, control_outcome = _sums(outcome, treated, uplift)
    gain = _share(treated_outcome, treated_number) - _share(control_outcome, number - treated_number)
    return number, gain * number


def qini_curve(outcome: Numbers, treated: Numbers, uplift: Numbers) -> tuple[Floats, Floats]:
    """Return how many are targeted and y_t - y_c n_t / n_c for each distinct score, highest first, from (0, 0).

    Radcliffe, Direct Marketing Analytics Journal 2007. Arguments as ``uplift_curve``.

    >>> qini_curve(np.array([1, 0, 0, 1]), np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.1, 0.1]))
    (array([0., 2., 4.]), array([0., 1., 0.]))
    """
    number, treated_number, treated_outcome, control_outcome = _sums(outcome, treated, uplift)
    return number, treated_outcome - control_outcome * _share(treated_number, number - treated_number)


def auuc(outcome: Numbers, treated: Numbers, uplift: Numbers) -> float:
    """Return the area under the uplift curve over n^2: the mean gain a person over all numbers targeted; NaN without both arms.

    Rzepakowski and Jaroszewicz, Knowledge and Information Systems 2012, https://doi.org/10.1007/s10115-011-0434-0.

    >>> auuc(np.array([1, 0, 0, 1]), np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.1, 0.1]))
    0.25
    """
    return _area(*uplift_curve(outcome, treated, uplift)) if _both_arms(treated) else float("nan")


def qini(outcome: Numbers, treated: Numbers, uplift: Numbers) -> float:
    """Return the area between the Qini curve and the straight line of targeting at random, over n^2; NaN without both arms.

    The Qini coefficient of Radcliffe, Direct Marketing Analytics Journal 2007, before it is divided by that of a perfect model.

    >>> qini(np.array([1, 0, 0, 1]), np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.1, 0.1]))
    0.125
    >>> qini(np.array([1, 0, 0, 1]), np.array([1, 0, 1, 0]), np.zeros(4))
    0.0
    """
    if not _both_arms(treated):
        return float("nan")
    number, gain = qini_curve(outcome, treated, uplift)
    return _area(number, gain) - _area(number[[0, -1]], gain[[0, -1]])


def qini_coefficient(outcome: Numbers, treated: Numbers, uplift: Numbers) -> float:
    """Return ``qini`` over that of an order that knows every outcome: 0 at random, at most 1; NaN without both arms or outcomes.

    Radcliffe, Direct Marketing Analytics Journal 2007. The order of reference has the treated with an outcome first, and those not treated
    with one last; of amounts, by amount.

    >>> qini_coefficient(np.array([1, 0, 0, 1]), np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.1, 0.1]))
    0.6666666666666666
    """
    best = qini(outcome, treated, outcome * np.where(treated == 1, 1.0, -1.0))
    found = qini(outcome, treated, uplift)
    return found / best if np.isfinite(best) and best > 0 else float("nan")


def _both_arms(treated: Numbers) -> bool:
    return bool((treated == 1).any() and (treated != 1).any())


def _sums(outcome: Numbers, treated: Numbers, uplift: Numbers) -> tuple[Floats, Floats, Floats, Floats]:
    distinct, group = np.unique(-uplift, return_inverse=True)

    def up_to(weights: Numbers) -> Floats:
        return np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=weights, minlength=len(distinct)))])

    arm = treated == 1
    return up_to(np.ones(len(uplift), np.int64)), up_to(arm), up_to(outcome * arm), up_to(outcome * ~arm)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _area(number: Floats, gain: Floats) -> float:
    return float(np.sum(np.diff(number) * (gain[1:] + gain[:-1]) / 2)) / float(number[-1]) ** 2
