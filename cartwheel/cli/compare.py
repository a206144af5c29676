"""``cartwheel compare``: the metrics of two runs side by side, as far as their protocols agree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cartwheel.core.errors import RunError, UsageError

if TYPE_CHECKING:
    from evaluation.comparison import Comparison, Pair
    from evaluation.figures import Evaluation, Record

_WIDTH: Final = 120
_NO_INTERVAL: Final = (
    "A difference between runs has no interval, for a run keeps its figures and not the answers behind them; a small one may be chance. "
    "Models of one run are compared by paired tests in its own report."
)
_Names = Optional[list[str]]  # noqa: UP045 - typer on 3.10


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory after `cartwheel evaluate`.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another one; differences are its metrics minus the first's.")],
    task: Annotated[_Names, typer.Option("--task", metavar="NAME", help="Compare this task only; may be repeated.")] = None,
    model: Annotated[_Names, typer.Option("--model", metavar="NAME", help="Compare this model only; may be repeated.")] = None,
    metric: Annotated[_Names, typer.Option("--metric", metavar="NAME", help="Compare this metric only; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Show the metrics of two runs side by side, and reject those with different protocols.

    \b
      cartwheel compare runs/shop runs/shop_longer --metric ndcg --metric recall

    Every metric carries the hash of its protocol: the split, the candidates, what was left out, the rule for ties, the sample and its
    rows. Metrics with the same protocol in both runs are shown with their 95% intervals and the difference. If the protocols differ, the
    command lists the fields that differ, and ends with exit code 12. Metrics that only one run has are counted.

    Two runs can be compared if they have the same log, [prepare] section and seed; their models may differ.
    """  # noqa: D301 - click's mark of a paragraph that it must not wrap
    from evaluation.comparison import compare as compare_evaluations

    wanted = {"task": task or [], "model": model or [], "metric": metric or []}
    both = [_read(run) for run in (first, second)]
    _require_known(wanted, both)
    comparison = compare_evaluations(*(_chosen(each, wanted) for each in both))
    if as_json:
        print(json.dumps({"first": str(first), "second": str(second), **comparison.told}, indent=2))
    else:
        console = Console() if Console().is_terminal else Console(width=_WIDTH)
        _show(comparison, (str(first), str(second)), console)
    comparison.require_alike()


def _read(run: Path) -> Evaluation:
    from evaluation.figures import Evaluation

    if not run.is_dir():
        raise RunError(f"There is no run directory {run}.", "Give the folder that `cartwheel run` wrote, for example runs/demo.")
    return Evaluation.read(run)


def _require_known(wanted: dict[str, list[str]], both: Sequence[Evaluation]) -> None:
    for field, names in wanted.items():
        known = dict.fromkeys(getattr(record, field) for each in both for record in each.records if record.baseline is None)
        for name in names:
            if name not in known:
                raise UsageError(f"--{field} is {name!r}; neither run has it.", f"They have {', '.join(known)}.")


def _chosen(evaluation: Evaluation, wanted: dict[str, list[str]]) -> Evaluation:
    from evaluation.figures import Evaluation

    def is_wanted(record: Record) -> bool:
        return all(not names or getattr(record, field) in names for field, names in wanted.items())

    return Evaluation(tuple(record for record in evaluation.records if is_wanted(record)))


def _show(comparison: Comparison, names: tuple[str, str], console: Console) -> None:
    for task in dict.fromkeys(pair.first.task for pair in comparison.pairs):
        pairs = [pair for pair in comparison.pairs if pair.first.task == task]
        table = Table("model", "metric", *map(escape, names), "difference", title=task.replace("_", " "), title_justify="left")
        for pair in pairs:
            table.add_row(*map(escape, _cells(pair)))
        console.print(table)
        for warning in dict.fromkeys(pair.warning for pair in pairs):
            if warning:
                _say(console, f"warning: {warning}", "yellow")
    if comparison.pairs:
        _say(console, f"Difference: {names[1]} less {names[0]}. {_NO_INTERVAL}")
    for refusal in comparison.refusals:
        models = ", ".join(dict.fromkeys(record.model for record in refusal.records))
        metrics = ", ".join(dict.fromkeys(_metric(record) for record in refusal.records))
        _say(console, f"\nNOT COMPARED: {refusal.task}, {metrics} of {models}. The protocols differ:", "bold")
        for line in refusal.differences:
            _say(console, f"  {line}")
    for name, records in zip(names, (comparison.only_first, comparison.only_second), strict=True):
        if records:
            where = ", ".join(dict.fromkeys(f"{record.model} in {record.task}" for record in records))
            _say(console, f"\nOnly {name} has judged {len(records)} figures: {where}.")


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _cells(pair: Pair) -> list[str]:
    change = "-" if pair.difference is None else f"{round(pair.difference, 4) + 0.0:+.4f}"  # never -0.0000
    return [pair.first.model, _metric(pair.first), _figure(pair.first), _figure(pair.second), change]


def _metric(record: Record) -> str:
    return record.metric if record.k is None else f"{record.metric}@{record.k}"


def _figure(record: Record) -> str:
    if record.value is None:
        return f"none: {record.reason}"
    ends = "" if record.low is None or record.high is None else f" [{record.low:.4f}, {record.high:.4f}]"
    return f"{record.value:.4f}{ends}"
