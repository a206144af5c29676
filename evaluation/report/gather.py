"""Collects the data of the report beyond the records: segments, curves, examples and the log's days."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.frames import scan_frame
from cartwheel.core.run_layout import RunLayout
from evaluation.figures import DIFFERENCE, Evaluation, Record
from evaluation.forecasts import Forecasts
from evaluation.probabilities import Forecast
from evaluation.report.details import (
    Calibration,
    ChanceCurve,
    Details,
    Example,
    Item,
    ProbabilityCurves,
    SegmentDifference,
    SegmentFigure,
    SegmentRow,
    SegmentTable,
    Timeline,
)
from evaluation.report.items import read_items
from evaluation.report.line_segments import form_segments, line_segments
from evaluation.segments import Segment, Shown, examples, segment_records, segments
from evaluation.settings import EvaluateSettings
from models.families.tabular.logistic_regression import MOST_POPULAR
from models.metrics.classification import Floats
from models.metrics.curves import gains_points, reliability
from models.metrics.intervals import UserBootstrap
from models.metrics.significance import holm
from workflows.tasks.task_names import CART_LINE, SPLIT, TWO_STAGE

METRIC: Final = "ndcg"
"""What segments are compared by: the metric of the verdicts."""
_LIST_LENGTH: Final = 10
_EXAMPLES: Final = 6
_RECENT: Final = 6
_GRID: Final = np.linspace(0.0, 1.0, 101)
_MOST_TYPES: Final = 6
_DIGITS: Final = 6


def gather(
    run: Path,
    evaluation: Evaluation,
    shown: Shown | None,
    forecasts: Mapping[str, Forecasts],
    forms: Mapping[str, Forecasts],
    settings: EvaluateSettings,
    seed: int,
) -> Details:
    """Gather the details of an evaluation that is being made.

    Args:
        run: run directory after train.
        evaluation: its records.
        shown: what both stages and everything beside them recommended; None where the split has no anchor.
        forecasts: task -> what was predicted in it, of each task that predicts probabilities row by row.
        forms: form of request -> what was predicted for the cart lines that it asks for.
        settings: cutoffs and resamples.
        seed: fixes resamples and the examples; equal seeds give equal details.

    Raises:
        RunError: if a file or a column is missing.
    """
    return Details(
        segments=None if shown is None else segment_table(shown, evaluation, settings, seed),
        lines=tuple(line_segments(run, forecasts[CART_LINE], settings, seed)) if CART_LINE in forecasts else (),
        requests=tuple(form_segments(forms, evaluation)),
        chances=tuple(probability_curves(forecasts, settings, seed)),
        examples=() if shown is None else tuple(example_lists(shown, seed)),
        timeline=timeline(run),
    )


def segment_table(shown: Shown, evaluation: Evaluation, settings: EvaluateSettings, seed: int) -> SegmentTable:
    """Judge the served lists in each segment beside most popular and the baseline that leads over all.

    Many segments find some difference by chance, so Holm's correction runs over all differences of the table.

    Args:
        shown: the lists, the model's first.
        evaluation: says which baseline leads.
        settings: cutoffs and resamples.
        seed: fixes the resamples.
    """
    k = settings.cutoffs[0]
    strongest = _strongest(shown, evaluation, k)
    chosen = [each for each in shown.lists if each.role == "model" or each.model in (strongest, MOST_POPULAR)]
    parts = segments(shown)
    records = segment_records(replace(shown, lists=tuple(chosen)), parts, settings, seed)
    records = [each for each in records if each.k == k and each.metric.partition(DIFFERENCE)[0] == METRIC]
    differences = [each for each in records if each.p_value is not None]
    p_values = holm([each.p_value or 0.0 for each in differences])
    corrected = {(each.task, each.metric): float(value) for each, value in zip(differences, p_values, strict=True)}
    rows = tuple(_segment_row(part, records, corrected) for part in parts)
    return SegmentTable(metric=METRIC, k=k, strongest=strongest, rows=rows)


def _strongest(shown: Shown, evaluation: Evaluation, k: int) -> str:
    """Return the baseline with the highest metric; the models' own first stage is none."""
    models = {record.model for record in evaluation.records if record.role == "model"}
    values = {}
    for each in shown.lists:
        found = evaluation.find(TWO_STAGE, each.model, METRIC, k)
        if each.role == "baseline" and each.model not in models and found is not None and found.value is not None:
            values[each.model] = found.value
    return max(values, key=values.__getitem__) if values else MOST_POPULAR


def _segment_row(part: Segment, records: Sequence[Record], corrected: dict[tuple[str, str], float]) -> SegmentRow:
    own = [each for each in records if each.task == part.name]
    figures = [each for each in own if each.baseline is None]
    return SegmentRow(
        about=part.about,
        name=part.name,
        anchors=max((each.n for each in figures), default=0),
        figures=tuple(
            SegmentFigure(model=each.model, role=each.role, value=each.value, low=each.low, high=each.high) for each in figures
        ),
        differences=tuple(
            SegmentDifference(
                model=each.model,
                baseline=each.baseline,
                value=each.value,
                low=each.low,
                high=each.high,
                p_holm=_rounded(corrected[part.name, each.metric]) if (part.name, each.metric) in corrected else None,
            )
            for each in own
            if each.baseline is not None
        ),
    )


def probability_curves(forecasts: Mapping[str, Forecasts], settings: EvaluateSettings, seed: int) -> list[ProbabilityCurves]:
    """Return calibration and gains of everything that predicts a probability; tasks without rows or with one class are left out.

    Args:
        forecasts: task -> what was predicted in it.
        settings: resamples.
        seed: fixes the resamples.
    """
    result = []
    for task, rows in forecasts.items():
        if 0 < rows.label.sum() < len(rows.label):
            bootstrap = UserBootstrap(rows.users, settings.bootstrap, seed)
            curves = tuple(_curve(rows, each, bootstrap) for each in rows.forecasts)
            result.append(ProbabilityCurves(task=task, rows=len(rows.label), positives=int(rows.label.sum()), curves=curves))
    return result


def _curve(rows: Forecasts, forecast: Forecast, bootstrap: UserBootstrap) -> ChanceCurve:
    taken, found = gains_points(rows.label, forecast.score)
    calibration = None
    if forecast.probability is not None:
        bins = reliability(rows.label, forecast.probability, bootstrap)
        calibration = Calibration(
            rows=tuple(int(number) for number in bins.rows),
            said=_floats(bins.said),
            seen=_floats(bins.seen),
            low=_known(bins.low),
            high=_known(bins.high),
        )
    return ChanceCurve(
        model=forecast.model,
        role=forecast.role,
        calibration=calibration,
        asked=_floats(_GRID),
        found=_floats(np.interp(_GRID, taken, found)),
    )


def example_lists(shown: Shown, seed: int) -> list[Example]:
    """Draw moments at random, half of them with a hit and half without, and name their items.

    Args:
        shown: what was recommended to whom.
        seed: fixes the draw.
    """
    drawn = examples(shown, _LIST_LENGTH, _EXAMPLES, seed)
    kinds = ("history", "recommended", "turned_to")
    wanted = {item for each in drawn for kind in kinds for item, _, _ in each[kind]}
    known = read_items(shown.run, SPLIT, sorted(wanted))

    def named(each: dict[str, Any], kind: str, most: int) -> tuple[Item, ...]:
        return tuple(known[item] for item, _, _ in each[kind][:most])

    return [
        Example(
            recent=named(each, "history", _RECENT),
            recommended=named(each, "recommended", _LIST_LENGTH),
            turned_to=named(each, "turned_to", _LIST_LENGTH),
            hits=tuple(each["hits"]),
        )
        for each in drawn
    ]


def timeline(run: Path) -> Timeline | None:
    """Count the events of each day by type, the commonest types apart; None where there is no event.

    Raises:
        RunError: if the events are missing.
    """
    events = scan_frame(RunLayout(run).events, ["timestamp", "event_type"])
    counts = events.group_by(pl.col("timestamp").dt.date().alias("day"), "event_type").len().collect()
    if counts.is_empty():
        return None
    first, last = counts["day"].min(), counts["day"].max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    common = counts.group_by("event_type").agg(pl.col("len").sum()).sort("len", "event_type", descending=[True, False])
    of_type = {}
    for kind in common["event_type"].head(_MOST_TYPES):
        told = dict(counts.filter(pl.col("event_type") == kind).select("day", "len").iter_rows())
        of_type[kind] = tuple(told.get(day, 0) for day in days)
    return Timeline(days=tuple(day.isoformat() for day in days), counts=of_type)


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(_rounded(float(value)) for value in values)


def _known(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else _rounded(float(value)) for value in values)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
