"""Metrics of cart lines by kind of shopper and by form of request, next to the base rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import check_aligned
from evaluation.figures import DIFFERENCE, Evaluation, Protocol, Record
from evaluation.forecasts import Forecasts
from evaluation.lists import NOTHING
from evaluation.probabilities import probability_records
from evaluation.report.details import LineSegment, SegmentDifference, SegmentFigure
from evaluation.segments import HISTORY_EDGES, history_kinds
from evaluation.settings import EvaluateSettings
from models.families.tabular.logistic_regression import BASE_RATE
from models.metrics.ranking import Ints
from models.metrics.significance import holm
from workflows.tasks.task_names import CART_LINE_OF, DLRM, SPLIT

METRIC: Final = "log_loss"
"""What the model is compared with the base rate by; the base rate's ROC AUC is one half."""


def line_segments(
    run: Path, lines: Forecasts, settings: EvaluateSettings, seed: int, edges: Sequence[int] = HISTORY_EDGES
) -> list[LineSegment]:
    """Cut the lines of carts by the shopper's interactions strictly before the anchor, as the segments of lists do.

    Holm's correction runs over the segments.

    Args:
        run: run directory after train.
        lines: what was predicted for every row of ``examples/test/cart``, in its order.
        settings: resamples.
        seed: fixes the resamples.
        edges: ascending, positive; see ``evaluation.segments.segments``.

    Returns:
        The segments that hold a line; nothing where all lines or none were bought.

    Raises:
        RunError: if the examples are missing, lack a column or are not of these lines.
    """
    if not 0 < lines.label.sum() < len(lines.label):
        return []
    path = RunLayout(run).examples(SPLIT, "cart")
    history = read_frame(path, ["user_events"])["user_events"].fill_null(0.0).to_numpy()
    check_aligned(path, len(history), RunLayout(run).features(SPLIT, "cart"), len(lines.label))
    kind, names = history_kinds(history, edges)
    told = {number: _records(lines, np.flatnonzero(kind == number), settings, seed) for number in np.unique(kind)}
    leads = {number: records[METRIC + DIFFERENCE + BASE_RATE, DLRM] for number, records in told.items()}
    tested = [number for number, lead in leads.items() if lead.p_value is not None]
    corrected = dict(zip(tested, holm([leads[number].p_value or 0.0 for number in tested]), strict=True))
    return [
        LineSegment(
            name=names[number],
            rows=int(np.count_nonzero(kind == number)),
            positives=int(lines.label[kind == number].sum()),
            roc_auc=_figure(records["roc_auc", DLRM]),
            log_loss=tuple(_figure(records[METRIC, model]) for model in (DLRM, BASE_RATE)),
            difference=_difference(leads[number], corrected.get(number)),
        )
        for number, records in told.items()
    ]


def form_segments(forms: Mapping[str, Forecasts], evaluation: Evaluation) -> list[LineSegment]:
    """Return the forms of request that have cart lines of both labels, as the evaluation evaluated them.

    Holm's correction runs over the forms.

    Args:
        forms: form -> what was predicted for its lines.
        evaluation: the records of the evaluation.
    """
    mixed = [form for form, lines in forms.items() if 0 < lines.label.sum() < len(lines.label)]
    told = {
        form: {(each.metric, each.model): each for each in evaluation.records if each.task == CART_LINE_OF[form]}
        for form in mixed
    }
    leads = {form: records[METRIC + DIFFERENCE + BASE_RATE, DLRM] for form, records in told.items()}
    tested = [form for form, lead in leads.items() if lead.p_value is not None]
    corrected = dict(zip(tested, holm([leads[form].p_value or 0.0 for form in tested]), strict=True))
    return [
        LineSegment(
            name=form,
            rows=len(forms[form].label),
            positives=int(forms[form].label.sum()),
            roc_auc=_figure(records["roc_auc", DLRM]),
            log_loss=tuple(_figure(records[METRIC, model]) for model in (DLRM, BASE_RATE)),
            difference=_difference(leads[form], corrected.get(form)),
            calibration_error=_figure(records["calibration_error", DLRM]),
            remark=leads[form].protocol.remark,
        )
        for form, records in told.items()
    ]


def _records(lines: Forecasts, chosen: Ints, settings: EvaluateSettings, seed: int) -> Mapping[tuple[str, str], Record]:
    """Return the records of some lines by metric and model; without decisions, whose thresholds were chosen for all lines."""
    forecasts = [
        replace(
            each,
            score=each.score[chosen],
            probability=None if each.probability is None else each.probability[chosen],
            threshold=None,
        )
        for each in lines.forecasts
        if each.model in (DLRM, BASE_RATE)
    ]
    protocol = Protocol(SPLIT, "the lines of carts of some shoppers", "", {"rows": len(chosen)}, NOTHING, "")
    records = probability_records("segment", lines.label[chosen], lines.users[chosen], forecasts, settings, seed, protocol)
    return {(each.metric, each.model): each for each in records}


def _figure(record: Record) -> SegmentFigure:
    return SegmentFigure(model=record.model, role=record.role, value=record.value, low=record.low, high=record.high)


def _difference(record: Record, p_holm: float | None) -> SegmentDifference:
    return SegmentDifference(
        model=record.model, baseline=BASE_RATE, value=record.value, low=record.low, high=record.high, p_holm=p_holm
    )
