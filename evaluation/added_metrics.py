"""Metrics that the shop added to a declared task: values with intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.figures import DIFFERENCE, Protocol, Record, Role, corrected, fingerprint, record
from evaluation.lists import BOOTSTRAP, PAIRED
from evaluation.metric import Floats, Metric, Outcome, computed
from models.metrics.intervals import UserBootstrap
from models.metrics.significance import permutation_p_values


@dataclass(frozen=True)
class Answers:
    """What a learner or a rule answers to the n rows of a task.

    Attributes:
        model: its name.
        role: what it is.
        outcome: answers and truth.
    """

    model: str
    role: Role
    outcome: Outcome


@dataclass(frozen=True)
class _Found:
    value: float
    draws: Floats
    rows: Floats | None


def added_records(
    task: str,
    answers: Sequence[Answers],
    entities: npt.NDArray[Any],
    metrics: Sequence[Metric],
    resamples: int,
    seed: int,
    protocol: Protocol,
) -> list[Record]:
    """Return the records of added metrics.

    Args:
        task: name of the task.
        answers: of every learner and rule, to the same n rows.
        entities: [n] whose row each is; resampled together.
        metrics: the added metrics.
        resamples: behind an interval.
        seed: fixes them.
        protocol: what all records share; interval and fingerprint are filled in.

    Returns:
        For each learner and rule all metrics, and for each learner the paired differences from each rule, with a p-value where the metric
        is a mean over rows.

    Raises:
        ConfigError: a metric raises, or gives what is no number or no value a row.
    """
    bootstrap = UserBootstrap(entities, resamples, seed)
    shared = replace(protocol, tie_rule="as the metric has it")
    if answers:
        shared = replace(shared, data=fingerprint(entities, answers[0].outcome.truth))
    plain, paired = (replace(shared, interval=method.format(resamples)) for method in (BOOTSTRAP, PAIRED))
    records: list[Record] = []
    for metric in metrics:
        found = {each.model: _found(metric, each.outcome, bootstrap) for each in answers}
        for each in answers:
            own = found[each.model]
            interval = bootstrap.percentile(own.draws)
            records.append(record(task, each.model, metric.name, own.value, interval, plain, n=len(entities), role=each.role))
        for each in (one for one in answers if one.role == "model"):
            for other in (one for one in answers if one.role == "baseline"):
                name = metric.name + DIFFERENCE + other.model
                records.append(
                    _difference(task, each.model, name, found[each.model], found[other.model], entities, bootstrap, seed, paired)
                )
    return corrected(records)


def _found(metric: Metric, outcome: Outcome, bootstrap: UserBootstrap) -> _Found:
    value, rows = computed(metric, outcome)
    if rows is not None:
        return _Found(value, bootstrap.means(rows[:, None])[:, 0], rows)
    places = np.arange(len(outcome))
    drawn = [computed(metric, outcome.take(np.repeat(places, weights.astype(np.int64))))[0] for weights in bootstrap.weights()]
    return _Found(value, np.array(drawn), None)


def _difference(
    task: str,
    model: str,
    name: str,
    first: _Found,
    second: _Found,
    entities: npt.NDArray[Any],
    bootstrap: UserBootstrap,
    seed: int,
    protocol: Protocol,
) -> Record:
    interval = bootstrap.percentile(first.draws - second.draws)
    p_value = None
    if first.rows is not None and second.rows is not None and interval.low is not None:
        p_value = float(permutation_p_values((first.rows - second.rows)[:, None], entities, seed)[0])
    value = first.value - second.value
    return record(task, model, name, value, interval, protocol, n=len(entities), role="model", p_value=p_value)
