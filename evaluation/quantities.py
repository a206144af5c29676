"""Metrics of predicted quantities: errors with intervals, and differences from baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evaluation.figures import DIFFERENCE, Protocol, Record, Role, corrected, fingerprint, record
from evaluation.lists import BOOTSTRAP, PAIRED
from models.metrics.classification import Floats
from models.metrics.intervals import UserBootstrap
from models.metrics.quantities import row_poisson_deviance
from models.metrics.significance import permutation_p_values

METRICS: Final = ("mae", "rmse", "poisson_deviance", "wape")
_TESTED: Final = ("mae", "poisson_deviance")
"""Means over rows, whose differences are tested by permutation."""
NO_QUANTITY: Final = "all quantities are 0"


@dataclass(frozen=True)
class Quantities:
    """What a model predicts for the n rows of a task.

    Attributes:
        model: name.
        role: a model or a baseline.
        value: [n] expected quantities.
    """

    model: str
    role: Role
    value: Floats


def quantity_records(
    task: str,
    actual: Floats,
    entities: npt.NDArray[Any],
    forecasts: Sequence[Quantities],
    resamples: int,
    seed: int,
    protocol: Protocol,
) -> list[Record]:
    """Return the records of a task whose answers are quantities.

    Args:
        task: name of the task.
        actual: [n] what came, at least one row.
        entities: [n] whose row each is; resampled together.
        forecasts: what was predicted, all of them for the same rows.
        resamples: behind an interval.
        seed: fixes them.
        protocol: what all records share; interval and fingerprint are filled in.

    Returns:
        For each forecast all metrics, and for each model the paired differences from each baseline.
    """
    shared = replace(protocol, tie_rule="none: no ranking", data=fingerprint(entities, actual))
    bootstrap = UserBootstrap(entities, resamples, seed)
    rows = {each.model: _rows(actual, each.value) for each in forecasts}
    values = {model: _metrics(parts.sum(axis=0)[None])[:, 0] for model, parts in rows.items()}
    draws = {model: _metrics(bootstrap.sums(parts)) for model, parts in rows.items()}
    plain, paired = (replace(shared, interval=method.format(resamples)) for method in (BOOTSTRAP, PAIRED))
    records = []
    for each in forecasts:
        for place, metric in enumerate(METRICS):
            value, interval = float(values[each.model][place]), bootstrap.percentile(draws[each.model][place])
            records.append(
                record(task, each.model, metric, value, interval, plain, n=len(actual), role=each.role, undefined=NO_QUANTITY)
            )
    for each in (forecast for forecast in forecasts if forecast.role == "model"):
        for other in (forecast for forecast in forecasts if forecast.role == "baseline"):
            apart = rows[each.model][:, [0, 2]] - rows[other.model][:, [0, 2]]
            p_values = permutation_p_values(apart, entities, seed)
            for place, metric in enumerate(METRICS):
                interval = bootstrap.percentile(draws[each.model][place] - draws[other.model][place])
                records.append(
                    record(
                        task,
                        each.model,
                        metric + DIFFERENCE + other.model,
                        float(values[each.model][place] - values[other.model][place]),
                        interval,
                        paired,
                        n=len(actual),
                        role="model",
                        undefined=NO_QUANTITY,
                        p_value=float(p_values[_TESTED.index(metric)])
                        if metric in _TESTED and interval.low is not None
                        else None,
                    )
                )
    return corrected(records)


def _rows(actual: Floats, predicted: Floats) -> Floats:
    """Return [n, 5] the absolute error, its square, the deviance, what came, and 1: the metrics are functions of their sums."""
    error = np.abs(predicted - actual)
    return np.column_stack([error, error**2, row_poisson_deviance(actual, predicted), np.abs(actual), np.ones(len(actual))])


def _metrics(sums: Floats) -> Floats:
    """Return [metrics, resamples] of [resamples, 5] sums of ``_rows``."""
    absolute, squared, deviance, came, rows = sums.T
    share = np.divide(absolute, came, out=np.full(len(came), np.nan), where=came > 0)
    return np.stack([absolute / rows, np.sqrt(squared / rows), deviance / rows, share])
