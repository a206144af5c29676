"""A declared task's evaluation for readers: as tables on a terminal, and as a section of the report."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from evaluation.figures import DIFFERENCE, LOWER_IS_BETTER, Record
from evaluation.report.html import Child, Html, paragraphs, tag
from evaluation.report.html import table as html_table
from evaluation.report.names import ABSENT, metric_name, model_name
from evaluation.report.task_drawings import costs
from evaluation.report.terminal import outcome
from evaluation.task_metrics import TaskEvaluation
from models.families.row_registry import BASELINES
from workflows.tasks.task import Answer

METRICS: Final = {
    Answer.PROBABILITY: ("roc_auc", "pr_auc", "log_loss", "brier", "calibration_error"),
    Answer.QUANTITY: ("mae", "rmse", "poisson_deviance", "wape"),
    Answer.EFFECT: ("qini", "policy_value"),
}
DECIDES: Final = {Answer.PROBABILITY: "log_loss", Answer.QUANTITY: "poisson_deviance", Answer.EFFECT: "qini"}
"""The metric that learners are compared by."""
_WORDS: Final = {"better": "better than", "worse": "worse than", "tied": "not distinguishable from"}
_COLUMNS: Final = 10
"""Columns that are listed by how far they move the score."""


def task_report(found: TaskEvaluation) -> Group:
    """Return the metrics of a task as a table with sentences under it, for ``rich.console.Console.print``."""
    table = Table(
        title=f"{found.task}: {found.title}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("learner", no_wrap=True)
    titles = metrics_shown(found)
    for title in titles.values():
        table.add_column(title, justify="right", no_wrap=True)
    for model in models(found):
        cells = [_cell(found.find(model, metric)) for metric in titles]
        table.add_row(
            f"{model} (served)" if model == found.served else model, *cells, style="bold" if model == found.served else ""
        )
    warnings = [Text(f"  warning: {sentence}", style="yellow") for sentence in found.suspects]
    return Group(
        table, *(Text(f"  {sentence}") for sentence in sentences(found)), *warnings, Text(f"  {protocol(found)}\n", "dim")
    )


def task_section(found: TaskEvaluation) -> Html:
    """Return the section of a task in the report."""
    titles = metrics_shown(found)
    rows = [
        [f"{model_name(model)} (served)" if model == found.served else model_name(model)]
        + [_cell(found.find(model, metric)) for metric in titles]
        for model in models(found)
    ]
    parts: list[Child] = [tag("h3", f"{found.task}: {found.title}")]
    parts += [tag("p", tag("b", f"Warning: {sentence}."), class_="note") for sentence in found.suspects]
    parts += [html_table(["", *titles.values()], rows, class_="figures")]
    parts += paragraphs(f"{sentence}." for sentence in sentences(found))
    parts += [
        *_calibration(found),
        *_fifths(found),
        *costs(found),
        *_importance(found),
        *_notes(found),
        tag("p", protocol(found), class_="note"),
    ]
    return tag("div", parts, class_="task", id=f"task-{found.task}")


def models(found: TaskEvaluation) -> list[str]:
    """Return learners and rules, the best on test rows first."""
    values = {each.model: each.value for each in found.records if each.metric == DECIDES[found.answer]}
    sign = 1.0 if DECIDES[found.answer] in LOWER_IS_BETTER else -1.0
    return sorted(values, key=lambda model: float("inf") if values[model] is None else sign * float(values[model] or 0.0))


def metrics_shown(found: TaskEvaluation) -> dict[str, str]:
    """Return the metrics of the table with their titles, those that the shop added last."""
    return {metric: metric_name(metric) for metric in METRICS[found.answer]} | {each.name: each.title for each in found.added}


def sentences(found: TaskEvaluation) -> list[str]:
    """Return sentences about the served learner, its comparison with the rules, and the cost of its decisions."""
    result = [f"served: {found.served}; {found.reason}"]
    metric = DECIDES[found.answer]
    result += [f"{each.title}: {each.meaning.rstrip('.')}; {each.better} is better" for each in found.added]
    differences = [each for each in found.records if each.model == found.served and each.metric.startswith(metric + DIFFERENCE)]
    result += [_standing(each, metric) for each in differences]
    decision = found.decision
    if decision is not None:
        ends = "" if decision.low is None else f" ({decision.low:.4f} to {decision.high:.4f})"
        result.append(
            f"decision: positive for {decision.yes:.1%} of the rows, from {decision.threshold:.4f} on, which {decision.rule}; it costs "
            f"{decision.cost:.4f} per row{ends}, always positive {decision.always_yes:.4f}, always negative {decision.always_no:.4f}"
        )
    return result + _ranged(found) + _targeted(found)


def _targeted(found: TaskEvaluation) -> list[str]:
    """Return sentences about the ranking by effect and the value of the policy."""
    policy = found.policy
    if policy is None:
        return []
    said = []
    for model in models(found):
        each = found.find(model, "qini")
        if each is None or each.role != "model" or each.value is None or each.low is None or each.high is None:
            continue
        told = (
            "better than random" if each.low > 0 else "worse than random" if each.high < 0 else "not distinguishable from random"
        )
        said.append(
            f"the ranking of {model_name(model)} is {told} (Qini {each.value:+.4f}, 95% {each.low:+.4f} to {each.high:+.4f})"
        )
    ends = "" if policy.low is None or policy.high is None else f" (95% {policy.low:+.4f} to {policy.high:+.4f})"
    return [
        *said,
        f"policy: at {policy.cost:g} per treatment and {policy.value:g} per unit of the outcome, {model_name(found.served)} treats "
        f"{policy.treats:.1%}, worth {policy.worth:.4f} per row; treating all {policy.treat_all:.4f}, none {policy.treat_none:.4f}; "
        f"it gains {policy.gain:+.4f}{ends} over the better of these",
    ]


def _ranged(found: TaskEvaluation) -> list[str]:
    """Return sentences about the coverage of intervals and the cost of order quantities."""
    ranges = found.ranges
    if ranges is None:
        return []
    ends = "" if ranges.low is None else f" ({ranges.low:.1%} to {ranges.high:.1%})"
    rule = min(
        (name for name in ranges.expected if name in BASELINES), key=lambda name: ranges.expected[name], default=found.served
    )
    served = model_name(found.served)
    return [
        f"interval: it covers {ranges.coverage:.1%}{ends} of test rows, with a target of {ranges.wanted:.0%}; its mean width is "
        f"{ranges.width:.4f}",
        f"order quantity: at {ranges.too_much:g} for one too many and {ranges.too_little:g} for one too few, that of {served} costs "
        f"{ranges.ordered[found.served]:.4f} per row, its expected value {ranges.expected[found.served]:.4f}, that of the "
        f"{model_name(rule)} {ranges.expected[rule]:.4f}",
    ]


def protocol(found: TaskEvaluation) -> str:
    """Return a sentence about the sample behind the metrics."""
    kind = "base rate" if found.answer is Answer.PROBABILITY else "mean label"
    return (
        f"test split; {found.rows:,} rows of {found.entities:,} {found.entity}s, {kind} {found.base_rate:.4f}; "
        f"±: half of the 95% interval, {found.entity}s resampled."
    )


def _standing(each: Record, metric: str) -> str:
    if each.value is None or each.low is None or each.high is None:
        return f"{each.model} cannot be compared with {each.baseline} by {metric_name(metric)}: {each.reason}"
    numbers = f"{each.value:+.4f}, 95% {each.low:+.4f} to {each.high:+.4f}"
    return f"{each.model} is {_WORDS[outcome(each)]} {each.baseline} by {metric_name(metric)} ({numbers})"


def _cell(record: Record | None) -> str:
    if record is None or record.value is None:
        return ABSENT
    half = "" if record.low is None or record.high is None else f" ±{(record.high - record.low) / 2:.4f}"
    return f"{record.value:.4f}{half}"


def _calibration(found: TaskEvaluation) -> list[Html]:
    bins = found.calibration
    if bins is None:
        return []
    rows = []
    for place, number in enumerate(bins.rows):
        low, high = bins.low[place], bins.high[place]
        ends = ABSENT if low is None or high is None else f"{low:.3f} to {high:.3f}"
        rows.append([f"{bins.said[place]:.3f}", f"{bins.seen[place]:.3f}", ends, f"{number:,}"])
    head = ["predicted", "observed", "95% interval", "rows"]
    return [
        tag("h4", f"Predicted and observed probabilities of {model_name(found.served)}"),
        html_table(head, rows, numbers_from=0),
    ]


def _fifths(found: TaskEvaluation) -> list[Html]:
    policy = found.policy
    if policy is None:
        return []
    parts = zip(policy.predicted, policy.observed, policy.error, strict=True)
    rows = [[f"{predicted:+.4f}", f"{observed:+.4f}", f"\u00b1{1.96 * error:.4f}"] for predicted, observed, error in parts]
    head = ["predicted", "observed", "95% interval"]
    return [tag("h4", "Predicted and observed effects in fifths of the rows"), html_table(head, rows, numbers_from=0)]


def _importance(found: TaskEvaluation) -> list[Html]:
    if not found.importance:
        return []
    units = {Answer.PROBABILITY: "log odds", Answer.EFFECT: "the effect"}
    unit = units.get(found.answer, "the quantity")
    rows = [[column, f"{value:.4f}"] for column, value in list(found.importance.items())[:_COLUMNS]]
    return [
        tag("h4", "Feature importance"),
        html_table(["column", f"mean change of {unit} from the column's typical value"], rows),
    ]


def _notes(found: TaskEvaluation) -> list[Html]:
    return [tag("ul", [tag("li", f"{note}.") for note in found.notes])] if found.notes else []
