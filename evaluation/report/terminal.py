"""The metrics of an evaluation as tables for a terminal, with a verdict in words below each task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from evaluation.figures import DIFFERENCE, LOWER_IS_BETTER, Evaluation, Record
from models.retrieval.fusion import UNUSED
from workflows.tasks.task_names import OF_FORMS

_LIST_METRICS: Final = ("recall", "ndcg", "mrr", "hit_rate", "coverage")
_PROBABILITY_METRICS: Final = ("roc_auc", "pr_auc", "log_loss", "brier", "calibration_error", "f1_at_threshold")
JUDGED_BY: Final = ("ndcg", "roc_auc")
"""The metric of a verdict: the first of these that a task has."""
LEVEL: Final = 0.05
"""A lead whose p-value, after Holm's correction, is not below this is not significant."""
MIN_P: Final = 0.001
_HEADLINES: Final = (("recall", 20), ("ndcg", 10), ("roc_auc", None), ("log_loss", None))
Outcome = Literal["better", "worse", "tied", "unknown"]
"""How a model compares with a baseline: ``tied`` if the difference is not significant, ``unknown`` without a difference or an interval."""
_WORDS: Final = {"better": "better than", "worse": "worse than", "tied": "not distinguishable from"}
_ROLE_STYLES: Final = {"model": "bold", "baseline": "", "oracle": "dim"}


@dataclass(frozen=True)
class _Column:
    metric: str
    k: int | None

    @property
    def title(self) -> str:
        name = self.metric.replace("_", " ")
        return name if self.k is None else f"{name}@{self.k}"

    @property
    def heading(self) -> str:
        """The title, broken so that the whole table fits a terminal of 80 columns."""
        return self.title.replace("@", "\n@").replace("calibration ", "calibration\n").removesuffix(" at threshold")


def report(evaluation: Evaluation) -> Group:
    """Return all tasks as tables with their verdicts, for ``rich.console.Console.print``.

    Each cell holds the figure, half the width of its 95% interval, and in the rows of models the ratio to the best baseline's figure.

    Args:
        evaluation: the records.
    """
    parts: list[Table | Text] = []
    for task in evaluation.tasks:
        records = [record for record in evaluation.records if record.task == task]
        parts.append(_table(task, records))
        parts += [Text(f"  {sentence}") for sentence in (*verdicts(records), *_unused_stage(records))]
        parts += _warnings(evaluation, task)
        parts.append(Text(f"  {_protocol(records)}\n", style="dim"))
    return Group(*parts) if parts else Group(Text("Nothing was evaluated."))


def headlines(evaluation: Evaluation) -> Group:
    """Return the main metrics of each task, one line per model, with half of their 95% intervals.

    The forms of request are left out.

    Args:
        evaluation: the records.
    """
    parts: list[Table | Text] = []
    for task in (task for task in evaluation.tasks if task not in OF_FORMS):
        records = [record for record in evaluation.records if record.task == task]
        columns = [column for column in _columns(records) if (column.metric, column.k) in _HEADLINES]
        figures = {(record.model, record.metric, record.k): record for record in records if record.value is not None}
        table = Table(task.replace("_", " "), *(column.title for column in columns), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for model, role in {record.model: record.role for record in records if record.role != "task"}.items():
            cells = [_cell(figures.get((model, column.metric, column.k)), None).replace("\n", " ") for column in columns]
            table.add_row(model if role in ("model", model) else f"{model} ({role})", *cells, style=_ROLE_STYLES[role])
        if table.row_count:
            parts += [table, *_warnings(evaluation, task)]
    return Group(*parts)


def _warnings(evaluation: Evaluation, task: str) -> list[Text]:
    return [Text(f"  warning: {sentence}", style="yellow") for sentence in evaluation.warnings(task)]


def verdicts(records: list[Record]) -> list[str]:
    """Return for each model of a task whether it beats each baseline, by the interval of the paired difference.

    Args:
        records: all records of one task.

    Returns:
        Sentences such as "two_tower: not distinguishable from most_popular by ndcg@10 (+0.002, 95% -0.004 to +0.008)".
    """
    metric = next((name for name in JUDGED_BY if any(record.metric == name for record in records)), None)
    if metric is None:
        return []
    differences = [record for record in records if record.metric.startswith(metric + DIFFERENCE)]
    first_k = next((record.k for record in differences), None)
    sentences = [_verdict(record, metric) for record in differences if record.k == first_k]
    return sentences + _ways_to_the_oracle(records, _Column(metric, first_k)) or _unknown(records)


def _ways_to_the_oracle(records: list[Record], column: _Column) -> list[str]:
    """Return how much of the distance between the best baseline and the oracle each model covers."""
    figures = [
        record for record in records if (record.metric, record.k) == (column.metric, column.k) and record.value is not None
    ]
    best = _best_baseline(records, column)
    ceiling = next((record.value for record in figures if record.role == "oracle"), None)
    if best is None or ceiling is None or ceiling <= best:
        return []
    return [
        f"{record.model}: {(record.value - best) / (ceiling - best):.0%} of the way from the best baseline to the oracle by {column.title}"
        for record in figures
        if record.role == "model" and record.value is not None
    ]


def outcome(difference: Record) -> Outcome:
    """Return the outcome of a paired difference: significant if its interval excludes 0 and its corrected p-value, if any, is small."""
    if difference.value is None or difference.low is None or difference.high is None:
        return "unknown"
    lower = difference.metric.partition(DIFFERENCE)[0] in LOWER_IS_BETTER
    low, high = (-difference.high, -difference.low) if lower else (difference.low, difference.high)
    if low <= 0 <= high or (difference.p_holm is not None and difference.p_holm >= LEVEL):
        return "tied"
    return "better" if low > 0 else "worse"


def _verdict(difference: Record, metric: str) -> str:
    name = _Column(metric, difference.k).title
    if difference.value is None:
        return f"{difference.model}: cannot be compared with {difference.baseline} by {name}: {difference.reason}"
    if difference.low is None or difference.high is None:
        return f"{difference.model}: {difference.value:+.4f} {name} against {difference.baseline}; {difference.reason}"
    word = _WORDS[outcome(difference)]
    numbers = f"{difference.value:+.4f}, 95% {difference.low:+.4f} to {difference.high:+.4f}"
    if difference.p_holm is not None:
        numbers += f", p {difference.p_holm:.3f}" if difference.p_holm >= MIN_P else f", p below {MIN_P}"
        if difference.p_holm >= LEVEL and not difference.low <= 0 <= difference.high:
            numbers += " once corrected for the number of comparisons"
    return f"{difference.model}: {word} {difference.baseline} by {name} ({numbers})"


def _unused_stage(records: list[Record]) -> list[str]:
    """Return remarks about second stages that are not used."""
    remarks = {record.model: record.protocol.remark for record in records if record.protocol.remark.startswith(UNUSED)}
    return [f"{model} {remark}" for model, remark in remarks.items()]


def _unknown(records: list[Record]) -> list[str]:
    reasons = dict.fromkeys(record.reason for record in records if record.value is None and record.reason)
    return [f"no metrics: {reason}" for reason in reasons]


def _table(task: str, records: list[Record]) -> Table:
    columns = _columns(records)
    table = Table(
        title=task.replace("_", " "), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("model", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    figures = {(record.model, record.metric, record.k): record for record in records}
    roles = {record.model: record.role for record in records if record.role != "task"}
    for model, role in roles.items():
        cells = [_cell(figures.get((model, column.metric, column.k)), _best_baseline(records, column)) for column in columns]
        table.add_row(model if role in ("model", model) else f"{model}\n({role})", *cells, style=_ROLE_STYLES[role])
    return table


def _columns(records: list[Record]) -> list[_Column]:
    """Return every cutoff of recall, the first cutoff of the other list metrics, and all that has no cutoff."""
    columns = []
    for metric in (*_LIST_METRICS, *_PROBABILITY_METRICS):
        cutoffs = list(dict.fromkeys(record.k for record in records if record.metric == metric))
        columns += [_Column(metric, k) for k in (cutoffs if metric == "recall" else cutoffs[:1])]
    return columns


def _best_baseline(records: list[Record], column: _Column) -> float | None:
    values = [
        record.value
        for record in records
        if record.role == "baseline" and (record.metric, record.k) == (column.metric, column.k) and record.value is not None
    ]
    if not values:
        return None
    return min(values) if column.metric in LOWER_IS_BETTER else max(values)


def _cell(record: Record | None, baseline: float | None) -> str:
    if record is None or record.value is None:
        return "-"
    lines = [f"{record.value:.4f}"]
    if record.low is not None and record.high is not None:
        lines.append(f"±{(record.high - record.low) / 2:.3f}")
    if record.role == "model" and baseline and record.metric not in ("coverage", "calibration_error"):
        lines.append(f"x{record.value / baseline:.2f}")
    return "\n".join(lines)


def _protocol(records: list[Record]) -> str:
    first = next((record.protocol for record in records if record.role == "model"), records[0].protocol)
    sizes = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in first.sample_size.items())
    reachable = next((record.value for record in records if record.metric == "reachable"), None)
    share = "" if reachable is None else f"; {reachable:.1%} of the truth is in the catalogue"
    cut = f" {first.cut}" if first.cut else ""
    sample = f"{sizes}{share}. ±: half of the 95% interval; x: ratio to the best baseline."
    return f"{first.split} split{cut}; {first.candidate_set}; left out: {first.excluded}; {sample}"
