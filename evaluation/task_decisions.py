"""Cost of decisions at the stated costs, for the served threshold and all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.metrics.classification import Floats
from models.metrics.decisions import decision_columns
from models.metrics.intervals import UserBootstrap
from models.tasks.spread import Spread, order_cost

_DIGITS: Final = 9
_POINTS: Final = 60
"""Most points of a curve of costs."""


@dataclass(frozen=True)
class Outcome:
    """The served learner's decisions on test rows at the stated costs.

    Attributes:
        threshold: the least probability that is a yes.
        rule: how validation chose it.
        false_positive: what a wrong yes costs.
        false_negative: what a wrong no costs.
        yes: share of rows decided yes.
        precision: share of these that came true; None where there are none.
        recall: share of what came true that was decided yes; None where nothing did.
        cost: mean cost of a row.
        low: lower end of its 95% interval over entities.
        high: upper end.
        always_yes: mean cost of a row if all were decided yes.
        always_no: mean cost of a row if all were decided no.
    """

    threshold: float
    rule: str
    false_positive: float
    false_negative: float
    yes: float
    precision: float | None
    recall: float | None
    cost: float
    low: float | None
    high: float | None
    always_yes: float
    always_no: float


@dataclass(frozen=True)
class CostCurve:
    """What a row costs on average where more and more rows are decided yes, those of the highest probabilities first.

    Attributes:
        yes: shares of the rows that are decided yes, ascending from 0 to 1, thinned out evenly on a logarithmic scale.
        cost: mean cost of a row at each.
    """

    yes: tuple[float, ...]
    cost: tuple[float, ...]


@dataclass(frozen=True)
class Ranges:
    """Intervals and orders of quantities on test rows.

    Attributes:
        wanted: share of cases that the intervals are to hold.
        coverage: share that they hold.
        low: lower end of its 95% interval over entities; None where there is none.
        high: upper end.
        width: mean width, in the unit of the quantity.
        too_much: what one too many costs.
        too_little: what one too few costs.
        ordered: learner -> mean cost of a row where as much is had as the learner says at these costs.
        expected: learner -> the same where as much is had as it expects.
    """

    wanted: float
    coverage: float
    low: float | None
    high: float | None
    width: float
    too_much: float
    too_little: float
    ordered: dict[str, float]
    expected: dict[str, float]


def ranges_of(
    label: Floats,
    served: str,
    quantities: Mapping[str, tuple[Floats, Spread]],
    costs: tuple[float, float],
    users: UserBootstrap,
) -> Ranges:
    """Return how the intervals of the served learner, and the orders of all, do.

    Args:
        label: [n] what came.
        served: the learner that answers, one of ``quantities``.
        quantities: learner -> [n] what it expects, and its spread.
        costs: of one too many, and of one too few.
        users: resamples the entities of the rows.
    """
    expected, spread = quantities[served]
    low, high, _ = spread.bounds(expected)
    inside = ((low <= label) & (label <= high)).astype(np.float64)
    ends = users.percentile(users.means(inside[:, None])[:, 0])
    return Ranges(
        wanted=spread.coverage,
        coverage=rounded(float(inside.mean())),
        low=None if ends.low is None else rounded(ends.low),
        high=None if ends.high is None else rounded(ends.high),
        width=rounded(float((high - low).mean())),
        too_much=costs[0],
        too_little=costs[1],
        ordered={
            name: rounded(float(order_cost(label, each.bounds(value)[2], *costs).mean()))
            for name, (value, each) in quantities.items()
        },
        expected={name: rounded(float(order_cost(label, value, *costs).mean())) for name, (value, _) in quantities.items()},
    )


def outcome_of(
    label: Floats, probability: Floats, threshold: tuple[float, str], costs: tuple[float, float], users: UserBootstrap
) -> Outcome:
    """Return what the decisions at a threshold come to.

    Args:
        label: [n] 0 or 1.
        probability: [n].
        threshold: the least probability that is a yes, and how it was chosen.
        costs: of a wrong yes, and of a wrong no.
        users: resamples the entities of the rows.
    """
    least, rule = threshold
    false_positive, false_negative = costs
    cells = decision_columns(label.astype(np.int64), probability, least)
    cost = cells[:, [1]] * false_positive + cells[:, [3]] * false_negative
    interval = users.percentile(users.means(cost)[:, 0])
    true_yes, false_yes, _, false_no = cells.sum(axis=0)
    return Outcome(
        threshold=rounded(least),
        rule=rule,
        false_positive=false_positive,
        false_negative=false_negative,
        yes=rounded((true_yes + false_yes) / len(label)),
        precision=_share(true_yes, true_yes + false_yes),
        recall=_share(true_yes, true_yes + false_no),
        cost=rounded(float(cost.mean())),
        low=None if interval.low is None else rounded(interval.low),
        high=None if interval.high is None else rounded(interval.high),
        always_yes=rounded(float((label == 0).mean()) * false_positive),
        always_no=rounded(float((label == 1).mean()) * false_negative),
    )


def cost_curve(label: Floats, probability: Floats, false_positive: float, false_negative: float) -> CostCurve:
    """Return the curve of [n] labels and probabilities; rows of one probability are decided together.

    >>> cost_curve(np.array([1.0, 0.0, 0.0]), np.array([0.9, 0.4, 0.4]), 1.0, 6.0)
    CostCurve(yes=(0.0, 0.333333333, 1.0), cost=(2.0, 0.0, 0.666666667))
    """
    order = np.argsort(-probability, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))
    taken = np.concatenate([[0], last_of_tie + 1])
    found = np.concatenate([[0.0], np.cumsum(label[order])[last_of_tie]])
    wanted = np.unique(np.searchsorted(taken, np.geomspace(1, len(label), _POINTS)))
    kept = np.unique(np.concatenate([[0], np.minimum(wanted, len(taken) - 1), [len(taken) - 1]]))
    cost = ((taken - found) * false_positive + (label.sum() - found) * false_negative) / len(label)
    return CostCurve(tuple(rounded(taken[each] / len(label)) for each in kept), tuple(rounded(cost[each]) for each in kept))


def rounded(value: float) -> float:
    """Return a metric with the digits that are written: more would only record the order in which a machine adds."""
    return float(f"{value:.{_DIGITS}g}")


def _share(part: float, whole: float) -> float | None:
    return rounded(part / whole) if whole else None
