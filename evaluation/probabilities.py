"""Metrics of predicted probabilities: ranking, losses, calibration and decisions, with intervals and differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evaluation.figures import DIFFERENCE, Protocol, Record, Role, corrected, fingerprint, record
from evaluation.lists import BOOTSTRAP, PAIRED
from evaluation.settings import EvaluateSettings
from evaluation.thresholds import Threshold
from models.metrics import classification
from models.metrics.classification import Floats, Labels, Thresholds
from models.metrics.decisions import Decisions, decision_columns, row_brier
from models.metrics.intervals import Interval, UserBootstrap
from models.metrics.significance import bootstrap_p_value, permutation_p_values

LEAST_RESAMPLES: Final = 1_000
"""Of a test by resamples, however few the intervals are of: its p-value is at least 2 in one more than these, and Holm's correction
multiplies it by up to how many baselines there are; of 100, even a perfect model would be told to lead by chance."""
MIRRORED: Final = "95% mirrored percentile of {} bootstrap resamples of users"
AT_THRESHOLD: Final = {name: f"{name}_at_threshold" for name in ("accuracy", "precision", "recall", "f1")}
"""Property of ``Decisions`` -> name of the metric: precision and recall of decisions are not those of lists."""
NO_ROWS: Final = "the split has no row of this task"
ONE_CLASS: Final = "all {} rows have the same label"
NO_YES: Final = "{} says yes to none of the {} rows"
NO_THRESHOLD: Final = "the validation split does not hold both labels, so there is no threshold"

_AREAS: Final = ("roc_auc", "pr_auc")
_TIES: Final = {
    "roc_auc": "a tied pair counts one half",
    "pr_auc": "tied scores share one threshold",
    "log_loss": "none: no ranking",
    "brier": "none: no ranking",
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
    """[n] for log loss, Brier score and calibration; None where the model gives no probabilities."""
    threshold: Threshold | None = None
    """From which probability on it says yes; None where it is asked for no decisions."""


@dataclass(frozen=True)
class _Figure:
    value: float
    draws: Floats
    """[resamples] as many as a test takes; intervals are of the first ``settings.bootstrap``."""
    mirrored: bool = False
    rows: Floats | None = None
    """[n] what ``value`` is the mean of; None where it is no mean over rows."""
    undefined: str = ""
    """Why ``value`` is NaN, where that is not for want of a class."""


def probability_records(
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
        settings: resamples behind an interval.
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
    resamples = settings.bootstrap
    bootstrap = UserBootstrap(users, max(resamples, LEAST_RESAMPLES), seed)
    figures = {each.model: _figures(label, each, bootstrap) for each in forecasts}
    records = []
    for each in forecasts:
        for metric, figure in figures[each.model].items():
            draws = figure.draws[:resamples]
            interval = bootstrap.basic(figure.value, draws) if figure.mirrored else bootstrap.percentile(draws)
            method = (MIRRORED if figure.mirrored else BOOTSTRAP).format(resamples)
            undefined = figure.undefined or ONE_CLASS.format(len(label))
            shared = _stamped(protocol, metric, method, each.threshold)
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
                interval = bootstrap.percentile((figure.draws - against.draws)[:resamples])
                shared = _stamped(protocol, metric, PAIRED.format(resamples), each.threshold)
                name, value = metric + DIFFERENCE + other.model, figure.value - against.value
                p_value = _p_value(figure, against, users, seed) if interval.low is not None else None
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
                        undefined=figure.undefined or against.undefined or ONE_CLASS.format(len(label)),
                        p_value=p_value,
                    )
                )
    return corrected(records)


def _p_value(figure: _Figure, against: _Figure, users: npt.NDArray[Any], seed: int) -> float | None:
    """Test a lead: by permutation where the metrics are means over rows, else by all resamples, since an area has no share a row."""
    if figure.rows is None or against.rows is None:
        return bootstrap_p_value(figure.draws - against.draws)
    return float(permutation_p_values((figure.rows - against.rows)[:, None], users, seed)[0])


def _metrics(forecast: Forecast) -> list[str]:
    metrics = list(_TIES if forecast.probability is not None else _AREAS)
    return metrics if forecast.threshold is None else [*metrics, *AT_THRESHOLD.values()]


def _figures(label: Labels, forecast: Forecast, bootstrap: UserBootstrap) -> dict[str, _Figure]:
    curve = Thresholds(label, forecast.score)
    draws = curve.areas_of(bootstrap.codes, bootstrap.counts)
    figures = {
        name: _Figure(value, draws[:, index]) for index, (name, value) in enumerate(zip(_AREAS, curve.areas(), strict=True))
    }
    if forecast.probability is None:
        return figures
    losses = classification.row_log_loss(label, forecast.probability)
    squares = row_brier(label, forecast.probability)
    means = bootstrap.means(np.column_stack([losses, squares]))
    figures["log_loss"] = _Figure(float(losses.mean()), means[:, 0], rows=losses)
    figures["brier"] = _Figure(float(squares.mean()), means[:, 1], rows=squares)
    gaps = classification.calibration_columns(label, forecast.probability)
    figures["calibration_error"] = _Figure(
        float(np.abs(gaps.sum(axis=0)).sum() / len(label)), np.abs(bootstrap.means(gaps)).sum(axis=1), mirrored=True
    )
    if forecast.threshold is not None:
        figures |= _decisions(label, forecast.model, forecast.probability, forecast.threshold, bootstrap)
    return figures


def _decisions(
    label: Labels, model: str, probability: Floats, threshold: Threshold, bootstrap: UserBootstrap
) -> dict[str, _Figure]:
    """Return the metrics of the decisions at a threshold; each resample is evaluated at the same one."""
    columns = np.full((len(label), 4), np.nan)
    reasons = dict.fromkeys(AT_THRESHOLD, NO_THRESHOLD)
    if not np.isnan(threshold.least):
        columns = decision_columns(label, probability, threshold.least)
        reasons = {"precision": NO_YES.format(model, len(label))}
    found = Decisions(*columns.sum(axis=0).tolist())
    drawn = [Decisions(*sums) for sums in bootstrap.sums(columns).tolist()]
    rows = {"accuracy": columns[:, 0] + columns[:, 2]}  # the others are no means over rows
    return {
        metric: _Figure(
            getattr(found, name),
            np.array([getattr(each, name) for each in drawn]),
            rows=rows.get(name),
            undefined=reasons.get(name, ""),
        )
        for name, metric in AT_THRESHOLD.items()
    }


def _stamped(protocol: Protocol, metric: str, interval: str, threshold: Threshold | None) -> Protocol:
    """Return the protocol with what is the metric's own; which threshold a model has is a remark, how it came about is not."""
    if threshold is None or metric not in AT_THRESHOLD.values():
        return replace(protocol, tie_rule=_TIES[metric], interval=interval)
    return replace(
        protocol,
        tie_rule=f"none: no ranking; {threshold.rule}",
        interval=f"{interval}, at the same threshold",
        remark=threshold.remark,
    )
