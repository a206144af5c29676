"""Metrics of predicted treatment effects: how well they rank rows, and the value of treating by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evaluation.figures import DIFFERENCE, Protocol, Record, Role, corrected, fingerprint, record
from evaluation.lists import BOOTSTRAP, PAIRED
from evaluation.task_decisions import rounded
from models.metrics.classification import Floats
from models.metrics.intervals import UserBootstrap
from models.metrics.targeting import qini_coefficient

METRICS: Final = ("qini", "policy_value")
_BINS: Final = 5
_NO_ARMS: Final = "the rows do not have both arms and outcomes in them"


@dataclass(frozen=True)
class Arms:
    """What came of the n rows of an experiment.

    Attributes:
        outcome: [n] the label.
        treated: [n] 1 where the row was treated, else 0.
        share: of rows that are treated, as training rows have it.
        cost: of treating a row.
        value: of one unit of the outcome.
    """

    outcome: Floats
    treated: Floats
    share: float
    cost: float
    value: float

    def worth(self, policy: Floats) -> Floats:
        """Return [n] the inverse-propensity estimate of what each row is worth under a policy, [n] 1 where it treats.

        Horvitz and Thompson, JASA 1952: a row counts where it was treated as the policy would, for as many as are alike but were not.
        """
        chance = np.where(policy == 1, self.share, 1.0 - self.share)
        return np.asarray(self.value * self.outcome * (policy == self.treated) / chance - self.cost * policy, np.float64)


@dataclass(frozen=True)
class Policy:
    """What it is worth to treat where a learner says that it pays, estimated on test rows of the experiment.

    Attributes:
        cost: of treating a row.
        value: of one unit of the outcome.
        treats: share of the rows that it treats.
        worth: mean worth of a row.
        treat_all: the same where all are treated.
        treat_none: where none is.
        gain: worth less that of the better of these two.
        low: lower end of its 95% interval; None where there is none.
        high: upper end.
        predicted: mean predicted effect of each fifth of the rows, the lowest first.
        observed: effect that the experiment shows there.
        error: its standard error.
    """

    cost: float
    value: float
    treats: float
    worth: float
    treat_all: float
    treat_none: float
    gain: float
    low: float | None
    high: float | None
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    error: tuple[float, ...]


def effect_records(
    task: str,
    arms: Arms,
    entities: npt.NDArray[Any],
    effects: Mapping[str, tuple[Role, Floats]],
    resamples: int,
    seed: int,
    protocol: Protocol,
) -> list[Record]:
    """Return the records of a task whose answers are effects.

    Args:
        task: name of the task.
        arms: what came of the rows.
        entities: [n] whose row each is; resampled together.
        effects: model -> its role, and [n] what it predicts.
        resamples: behind an interval.
        seed: fixes them.
        protocol: what all records share.

    Returns:
        For each model the Qini coefficient and the worth of its policy, and the differences of models from baselines.
    """
    shared = replace(
        protocol, tie_rule="rows of one predicted effect are taken together", data=fingerprint(entities, arms.outcome)
    )
    plain, paired = (replace(shared, interval=method.format(resamples)) for method in (BOOTSTRAP, PAIRED))
    bootstrap = UserBootstrap(entities, resamples, seed)
    draws = [np.repeat(np.arange(len(entities)), weights.astype(np.int64)) for weights in bootstrap.weights()]
    values: dict[str, list[float]] = {}
    drawn: dict[str, Floats] = {}
    for model, (_, effect) in effects.items():
        worth = arms.worth(policy_of(effect, arms))
        values[model] = [_qini(arms, effect), float(worth.mean())]
        means = bootstrap.means(worth[:, None])[:, 0]
        drawn[model] = np.stack([np.array([_qini(arms, effect, rows) for rows in draws]), means])
    records = []
    for model, (role, _) in effects.items():
        for place, metric in enumerate(METRICS):
            interval = bootstrap.percentile(drawn[model][place])
            stamped = partial(record, task, model, n=len(entities), role=role, undefined=_NO_ARMS)
            records.append(stamped(metric, values[model][place], interval, plain))
            for other in (name for name, (kind, _) in effects.items() if role == "model" and kind == "baseline"):
                apart = values[model][place] - values[other][place]
                interval = bootstrap.percentile(drawn[model][place] - drawn[other][place])
                records.append(stamped(metric + DIFFERENCE + other, apart, interval, paired))
    return corrected(records)


def policy_of(effect: Floats, arms: Arms) -> Floats:
    """Return [n] 1 where the effect is worth more than treating costs."""
    return (arms.value * effect > arms.cost).astype(np.float64)


def policy_outcome(effect: Floats, arms: Arms, users: UserBootstrap) -> Policy:
    """Return what treating by [n] predicted effects is worth, and how effects come true in fifths of the rows."""
    policy = policy_of(effect, arms)
    rows = {"own": arms.worth(policy), "all": arms.worth(np.ones(len(effect))), "none": arms.worth(np.zeros(len(effect)))}
    better = max(("all", "none"), key=lambda name: float(rows[name].mean()))
    gain = rows["own"] - rows[better]
    interval = users.percentile(users.means(gain[:, None])[:, 0])
    order = np.array_split(np.argsort(effect, kind="stable"), _BINS)
    shown = [_observed(arms, part) for part in order if len(part)]
    return Policy(
        cost=arms.cost,
        value=arms.value,
        treats=rounded(float(policy.mean())),
        worth=rounded(float(rows["own"].mean())),
        treat_all=rounded(float(rows["all"].mean())),
        treat_none=rounded(float(rows["none"].mean())),
        gain=rounded(float(gain.mean())),
        low=None if interval.low is None else rounded(interval.low),
        high=None if interval.high is None else rounded(interval.high),
        predicted=tuple(rounded(float(effect[part].mean())) for part in order if len(part)),
        observed=tuple(each[0] for each in shown),
        error=tuple(each[1] for each in shown),
    )


def _observed(arms: Arms, rows: npt.NDArray[np.intp]) -> tuple[float, float]:
    """Return the difference of the arms' mean outcomes among some rows, and its standard error; 0 and 0 where an arm has too few."""
    parts: Sequence[Floats] = [arms.outcome[rows][arms.treated[rows] == arm] for arm in (1.0, 0.0)]
    if min(len(part) for part in parts) < 2:
        return 0.0, 0.0
    error = float(np.sqrt(sum(float(part.var(ddof=1)) / len(part) for part in parts)))
    return rounded(float(parts[0].mean() - parts[1].mean())), rounded(error)


def _qini(arms: Arms, effect: Floats, rows: npt.NDArray[np.intp] | None = None) -> float:
    taken = slice(None) if rows is None else rows
    return qini_coefficient(arms.outcome[taken], arms.treated[taken], effect[taken])
