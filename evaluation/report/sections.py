"""The parts of the page about metrics: leaderboards and significance, probabilities, segments, and training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from evaluation.figures import Record
from evaluation.probabilities import AT_THRESHOLD
from evaluation.report import list_drawings, probability_drawings
from evaluation.report.details import NO_DETAILS, Details, LineSegment, SegmentFigure, SegmentTable
from evaluation.report.html import Child, Html, cells, paragraphs, table, tag
from evaluation.report.learning import LearningCurve
from evaluation.report.names import ABSENT, about_task, figure, metric_name, model_name, p_value_text, task_name
from evaluation.report.views import Standing, TaskView, is_better

_LISTS: Final = ("recall", "ndcg", "mrr", "map", "hit_rate")
_VARIETY: Final = ("coverage", "novelty", "diversity", "serendipity", "gini", "average_popularity")
_PROBABILITIES: Final = ("roc_auc", "pr_auc", "log_loss", "calibration_error")
_DECISIONS: Final = ("brier", *AT_THRESHOLD.values())
_NOT_COMPARED: Final = (*_VARIETY, "calibration_error", AT_THRESHOLD["precision"], AT_THRESHOLD["recall"])
"""Metrics that can be improved at the expense of others."""
_BADGES: Final = {"better": "beaten", "worse": "ahead", "tied": "not significant", "unknown": "undecided"}


def leaderboards(views: Sequence[TaskView]) -> list[Html]:
    """Return the leaderboard of each task, with the significance of the lead."""
    return [_leaderboard(view) for view in views]


def _leaderboard(view: TaskView) -> Html:
    head = [tag("h3", task_name(view.task)), *paragraphs([about_task(view.task)] if about_task(view.task) else [])]
    if view.metric is None or all(view.value(model) is None for model in view.roles):
        return tag(
            "div",
            head,
            tag("p", f"No metrics: {view.why_none}.", class_="missing"),
            class_="task",
            id=f"task-{list_drawings.slug(view.task)}",
        )
    parts: list[Child] = [list_drawings.leaderboard(view), _figures(view, _LISTS if view.has_lists else _PROBABILITIES)]
    if any(each.difference.value is not None for each in view.standings):
        parts += [tag("h4", "Is the lead significant?"), list_drawings.differences(view), _standings(view)]
    if view.has_lists and len(view.cutoffs("recall")) > 1:
        parts += [tag("h4", "Metrics by k"), list_drawings.by_cutoff(view)]
    if view.has_lists and view.k in view.cutoffs("coverage"):
        parts += [tag("h4", "Accuracy and variety"), list_drawings.tradeoffs(view), _figures(view, _VARIETY)]
    return tag("div", head, parts, _protocol(view), class_="task", id=f"task-{list_drawings.slug(view.task)}")


def _figures(view: TaskView, metrics: Sequence[str]) -> Html:
    columns = [(metric, k) for metric in metrics for k in _cutoffs(view, metric)]
    best = {column: _best(view, *column) for column in columns}
    rows = []
    for model, role in view.roles.items():
        values = [_cell(view.find(model, *column), best[column]) for column in columns]
        rows.append(tag("tr", cells([model_name(model), *values]), class_=role))
    head = ["", *(metric_name(metric, k) for metric, k in columns)]
    note = "Small: half of the 95% interval." + (" Bold: the best simple baseline or better." if any(best.values()) else "")
    return tag("div", table(head, rows, class_="figures"), tag("p", note, class_="note"))


def _cutoffs(view: TaskView, metric: str) -> list[int | None]:
    """Return every cutoff of recall, the first one of other metrics, and no cutoff where a metric has none."""
    held = view.cutoffs(metric)
    if not held:
        return [None] if any(record.metric == metric for record in view.records) else []
    return list(held) if metric == "recall" else [held[0]]


def _best(view: TaskView, metric: str, k: int | None) -> float | None:
    values = [
        record.value for model in view.simple if (record := view.find(model, metric, k)) is not None and record.value is not None
    ]
    if not values or metric in _NOT_COMPARED:
        return None
    return max(values) if is_better(metric, 1.0, 0.0) else min(values)


def _cell(record: Record | None, best: float | None) -> Child:
    if record is None or record.value is None:
        return ABSENT
    leads = best is not None and not is_better(record.metric, best, record.value)
    half = "" if record.low is None or record.high is None else f"±{(record.high - record.low) / 2:.3f}"
    return [tag("b" if leads else "span", figure(record.value, 4 if abs(record.value) < 10 else 2)), tag("small", half)]


def _standings(view: TaskView) -> Html:
    return table(
        ["against", "difference", "95% interval", "p (Holm)", "so"],
        [
            [model_name(each.baseline), *_difference(each), tag("span", _BADGES[each.outcome], class_=f"badge {each.outcome}")]
            for each in view.standings
        ],
        class_="standings",
    )


def _difference(each: Standing) -> list[str]:
    record = each.difference
    ends = ABSENT if record.low is None or record.high is None else f"{record.low:+.4f} to {record.high:+.4f}"
    return [
        ABSENT if record.value is None else f"{record.value:+.4f}",
        ends,
        p_value_text(record.p_holm).removeprefix("p ").removeprefix("= ") or ABSENT,
    ]


def _protocol(view: TaskView) -> Html:
    record = next((each for each in view.records if each.role == "model"), view.records[0])
    about = record.protocol
    sizes = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in about.sample_size.items())
    cut = f" {about.cut}" if about.cut else ""
    ties = dict.fromkeys(each.protocol.tie_rule for each in view.records if each.metric == view.metric)
    text = (
        f"Protocol {about.hash}: {about.split} split{cut}; {sizes}; candidates: {about.candidate_set}; left out: {about.excluded}; "
        f"ties: {'; '.join(ties)}; interval: {about.interval}."
    )
    remark = f" {view.model and model_name(view.model)} {about.remark}." if about.remark else None
    return tag("p", text, remark, _warning(view), class_="note")


def _warning(view: TaskView) -> list[Child]:
    """Return the warnings about the metrics of a task."""
    told = dict.fromkeys(each.protocol.warning for each in view.records if each.protocol.warning)
    return [tag("b", f" Warning: {sentence}") for sentence in told]


def probabilities(details: Details | None, views: Sequence[TaskView]) -> list[Html]:
    """Return calibration, gains and decisions of each task with probabilities."""
    parts = []
    if details is None:
        parts.append(tag("p", NO_DETAILS, class_="missing"))
    elif not details.chances:
        nothing = "No task of this run has both outcomes among its test rows, so there are no probabilities to evaluate."
        parts.append(tag("p", nothing, class_="missing"))
    drawn = {each.task: probability_drawings.calibration_and_gains(each) for each in (details.chances if details else ())}
    for view in views:
        found = [*([drawn[view.task]] if view.task in drawn else []), *_decisions(view)]
        if found:
            warning = _warning(view)
            parts.append(
                tag("div", tag("h3", task_name(view.task)), found, tag("p", warning, class_="note") if warning else None)
            )
    return parts


def _decisions(view: TaskView) -> list[Html]:
    """Return the metrics of decisions at each model's threshold; nothing if the task has none."""
    told = [record for record in view.records if record.metric in AT_THRESHOLD.values() and record.value is not None]
    if not told:
        return []
    remarks = {record.model: record.protocol.remark for record in told}
    rows = []
    for model, role in view.roles.items():
        if model in remarks:
            values = [_cell(view.find(model, metric, None), _best(view, metric, None)) for metric in _DECISIONS]
            rows.append(tag("tr", cells([model_name(model), *values, remarks[model]]), class_=role))
    head = ["", *(metric_name(metric).removesuffix(" at threshold") for metric in _DECISIONS), "threshold"]
    note = (
        f"Decisions: {told[0].protocol.tie_rule.partition('; ')[2]}. Small: half of the 95% interval, at the same threshold. "
        "Bold: the best simple baseline or better."
    )
    return [table(head, rows, class_="figures"), tag("p", note, class_="note")]


def segment_part(details: Details | None) -> list[Html]:
    """Return the results of the served lists and of the cart model by segment."""
    if details is None:
        return [tag("p", NO_DETAILS, class_="missing")]
    lines = [tag("h3", "Cart lines by the shopper's history"), _line_table(details.lines)] if details.lines else []
    if details.requests:
        lines += [
            tag("h3", "Cart lines by form of request"),
            _line_table(details.requests),
            _request_note(details.requests),
        ]
    if details.segments is None or not any(each.value is not None for row in details.segments.rows for each in row.figures):
        return [tag("p", "No anchor of the test split has a true item, so there are no segments.", class_="missing"), *lines]
    return [list_drawings.segments(details.segments), _segment_table(details.segments), *lines]


def retrievers(details: Details | None) -> list[Html]:
    """Return the recall of each retriever of the sum; nothing if there is only one."""
    if details is None or details.retrievers is None:
        return []
    told = details.retrievers
    head = ("retriever", f"true items among its first {told.candidates}", "found by no other retriever")
    rows = [[each.retriever, f"{each.found:.1%}", f"{each.only:.1%}"] for each in (*told.shares, told.sum)]
    note = (
        f"Shares of {told.truth:,} true items of the test split. The last line is the served sum, and what it finds but none of its "
        f"parts. {told.none:.1%} are found by no retriever, and no second stage can recommend them."
    )
    return [tag("h3", "What each retriever finds"), table(head, rows, class_="figures"), tag("p", note, class_="note")]


def _request_note(requests: Sequence[LineSegment]) -> Html:
    """Return what a form of request is, and in which of them the base rate is answered."""
    sentences = [
        "A stranger has no id in the snapshot. A known user has the state of the last refresh. Recent items are those of the session. "
        "Each form has its own calibration and its own base rate in training.",
        *(f"{each.name}: {each.remark}." for each in requests if each.remark),
    ]
    return tag("p", " ".join(sentences), class_="note")


def _line_table(segments: Sequence[LineSegment]) -> Html:
    rows = []
    for each in segments:
        lead = each.difference
        told, word = ABSENT, "unknown"
        if lead.value is not None:
            told = f"{lead.value:+.4f}"
            word = "tied" if not list_drawings.is_decided(lead) else "better" if lead.value < 0 else "worse"
        p_value = p_value_text(lead.p_holm).removeprefix("p ").removeprefix("= ") or ABSENT
        badge = tag("span", _BADGES[word], class_=f"badge {word}")
        losses = [figure(found.value) for found in each.log_loss]
        error = [] if each.calibration_error is None else [_with_interval(each.calibration_error)]
        cells_of = [each.name, f"{each.rows:,}", f"{each.positives:,}", *losses, told, p_value, badge, figure(each.roc_auc.value)]
        rows.append([*cells_of, *error])
    names = [f"log loss of {model_name(found.model)}" for found in segments[0].log_loss]
    base = model_name(segments[0].difference.baseline)
    head = [
        "",
        "lines",
        "bought",
        *names,
        f"minus {base}'s",
        "p (Holm)",
        base,
        f"ROC AUC of {model_name(segments[0].roc_auc.model)}",
        *(["calibration error"] if segments[0].calibration_error is not None else []),
    ]
    note = (
        "A lower log loss is better. The base rate predicts the share bought in training for every line; its ROC AUC is one half."
    )
    return tag("div", table(head, rows), tag("p", note, class_="note"))


def _with_interval(found: SegmentFigure) -> str:
    ends = "" if found.low is None or found.high is None else f" ({found.low:.4f} to {found.high:.4f})"
    return figure(found.value) + ends


def _segment_table(told: SegmentTable) -> Html:
    models = list(dict.fromkeys(each.model for row in told.rows for each in row.figures))
    rows = []
    for row in told.rows:
        values = {each.model: each.value for each in row.figures}
        found = next((each for each in row.differences if each.baseline == told.strongest), None)
        lead: Child = ABSENT
        word = "unknown"
        if found is not None and found.value is not None:
            lead = f"{found.value:+.4f}"
            word = "tied" if not list_drawings.is_decided(found) else "better" if found.value > 0 else "worse"
        badge = tag("span", _BADGES[word], class_=f"badge {word}")
        p_value = p_value_text(found.p_holm).removeprefix("p ").removeprefix("= ") if found is not None else ""
        rows.append(
            [row.name, f"{row.anchors:,}", *(figure(values.get(model)) for model in models), lead, p_value or ABSENT, badge]
        )
    head = [
        "",
        "moments",
        *(model_name(model) for model in models),
        f"minus {model_name(told.strongest)}",
        "p (Holm)",
        model_name(told.strongest),
    ]
    note = (
        "Items: only truth of that kind counts. Head: the fewest items that held half of all interactions when the split began."
    )
    return tag("div", table(head, rows), tag("p", note, class_="note"))


def learning(curves: list[LearningCurve]) -> list[Html]:
    """Return the learning curves."""
    if not curves:
        return [tag("p", "The run has no training history.", class_="missing")]
    sentences = []
    for curve in curves:
        ended = "stopped early" if curve.stopped_early else "ran all its epochs"
        sentences.append(f"{curve.name}: {len(curve.loss)} epochs, {ended}, kept epoch {curve.best_epoch + 1}.")
    open_end = [
        curve.name for curve in curves if not curve.stopped_early and curve.valid and curve.best_epoch == len(curve.loss) - 1
    ]
    if open_end:
        sentences.append(f"Still improving at the end of training: {', '.join(open_end)}; more epochs may help.")
    return [probability_drawings.learning_curves(curves), tag("p", " ".join(sentences))]
