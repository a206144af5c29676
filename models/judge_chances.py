"""From predicted probabilities to records: ROC AUC, PR AUC, log loss and calibration, with intervals and differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.figures import DIFFERENCE, Protocol, Record, Role, corrected, fingerprint, record
from models.judge_lists import BOOTSTRAP, PAIRED
from models.metrics import classification
from models.metrics.classification import Floats, Labels, Thresholds
from models.metrics.intervals import Interval, UserBootstrap
from models.metrics.significance import bootstrap_p_value
from models.settings import EvaluateSettings

MIRRORED: Final = "95% mirrored percentile of {} bootstrap resamples of users"
NO_ROWS: Final = "the split has no row of this task"
ONE_CLASS: Final = "all {} rows have the same label"

_AREAS: Final = ("roc_auc", "pr_auc")
_TIES: Final = {
    "roc_auc": "a tied pair counts one half",
    "pr_auc": "tied scores share one threshold",
    "log_loss": "none: no ranking",
    "calibration_error": f"none: no ranking; {classification.ECE_BINS} bins of equal width",
}


@dataclass(frozen=True)
class Forecast:
    """What a model predicts for the n rows of a task."""

    model: str
    role: Role
    score: Floats
    """[n] any scale, for ROC AUC and PR AUC."""
    probability: Floats | None = None
    """[n] for log loss and calibration; None where the model gives no probabilities."""


@dataclass(frozen=True)
class _Figure:
    value: float
    draws: Floats
    """[resamples]"""
    mirrored: bool = False


def chance_records(
    task: str,
    label: Labels,
    users: npt.NDArray[Any],
    forecasts: Sequence[Forecast],
    settings: EvaluateSettings,
    seed: int,
    protocol: Protocol,
) -> list[Record]:
    """Return the records of a task whose answers are probabilities.

    Args:
        task: name of the task.
        label: [n] 0 or 1; no rows or one class give records without values.
        users: [n] the user of each row.
        forecasts: what was predicted, all of them for the same rows.
        settings: resamples.
        seed: fixes the resamples.
        protocol: what all records share; tie rule and interval are filled in.

    Returns:
        For each forecast all figures, and for each model the paired differences from each baseline.
    """
    if not len(label):
        return [
            record(task, each.model, metric, float("nan"), Interval(None, None), protocol, n=0, role=each.role, undefined=NO_ROWS)
            for each in forecasts
            for metric in _metrics(each)
        ]
    protocol = replace(protocol, data=fingerprint(users, label))
    bootstrap = UserBootstrap(users, settings.bootstrap, seed)
    figures = {each.model: _figures(label, each, bootstrap) for each in forecasts}
    undefined = ONE_CLASS.format(len(label))
    records = []
    for each in forecasts:
        for metric, figure in figures[each.model].items():
            interval = bootstrap.basic(figure.value, figure.draws) if figure.mirrored else bootstrap.percentile(figure.draws)
            shared = _stamped(protocol, metric, (MIRRORED if figure.mirrored else BOOTSTRAP).format(settings.bootstrap))
            records.append(
                record(
                    task, each.model, metric, figure.value, interval, shared, n=len(label), role=each.role, undefined=undefined
                )
            )
    for each in (forecast for forecast in forecasts if forecast.role == "model"):
        for other in (forecast for forecast in forecasts if forecast.role == "baseline"):
            for metric, figure in figures[each.model].items():
                if figure.mirrored or metric not in figures[other.model]:
                    continue
                against = figures[other.model][metric]
                interval = bootstrap.percentile(figure.draws - against.draws)
                shared = _stamped(protocol, metric, PAIRED.format(settings.bootstrap))
                name, value = metric + DIFFERENCE + other.model, figure.value - against.value
                p_value = bootstrap_p_value(figure.draws - against.draws) if interval.low is not None else None
                records.append(
                    record(
                        task,
                        each.model,
                        name,
                        value,
                        interval,
                        shared,
                        n=len(label),
                        role="model",
                        undefined=undefined,
                        p_value=p_value,
                    )
                )
    return corrected(records)


def _metrics(forecast: Forecast) -> list[str]:
    return list(_TIES if forecast.probability is not None else _AREAS)


def _figures(label: Labels, forecast: Forecast, bootstrap: UserBootstrap) -> dict[str, _Figure]:
    curve = Thresholds(label, forecast.score)
    draws = bootstrap.draws(curve.areas)
    figures = {
        name: _Figure(value, draws[:, index]) for index, (name, value) in enumerate(zip(_AREAS, curve.areas(), strict=True))
    }
    if forecast.probability is None:
        return figures
    losses = classification.row_log_loss(label, forecast.probability)
    figures["log_loss"] = _Figure(float(losses.mean()), bootstrap.means(losses[:, None])[:, 0])
    gaps = classification.calibration_columns(label, forecast.probability)
    figures["calibration_error"] = _Figure(
        float(np.abs(gaps.sum(axis=0)).sum() / len(label)), np.abs(bootstrap.means(gaps)).sum(axis=1), mirrored=True
    )
    return figures


def _stamped(protocol: Protocol, metric: str, interval: str) -> Protocol:
    return replace(protocol, tie_rule=_TIES[metric], interval=interval)
