"""Answers the questions of docs/answers.md on public logs, every family beside the reference that it has to meet, and writes the page.

    python benchmarks/tasks.py --data ../shared/data                # all questions; --only spend for those whose name holds it

Prepares, trains and judges each task as ``cartwheel run`` does (the recommender's models are left out), and writes ``benchmarks/tasks.md``:
what each learner reaches on test rows with 95% intervals, which one validation chose and why, whether a reference is met by what is served
and by any family, and seconds. Runs are kept in ``--work`` and skipped where they are done; questions whose run is there stay in the page.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402

import cartwheel  # noqa: E402
from benchmarks.declared_tasks import CDNOW, RETAIL, STAGES, TINY, Question, churn  # noqa: E402
from benchmarks.series_logs import MadeLog, m5_log  # noqa: E402
from cartwheel.core.files import write_json, write_text  # noqa: E402
from cartwheel.core.run_layout import RunLayout  # noqa: E402
from evaluation.figures import LOWER_IS_BETTER, Record  # noqa: E402
from evaluation.report.names import metric_name, model_name  # noqa: E402
from evaluation.report.task_tables import METRICS, models, sentences  # noqa: E402
from evaluation.task_metrics import TaskEvaluation  # noqa: E402
from models.families.row_registry import BASELINES  # noqa: E402

PAGE: Final = ROOT / "benchmarks" / "tasks.md"
SECONDS: Final = "seconds.json"
"""File of a run: how long it took."""
PEERS: Final = "peers.txt"
"""File of a run: a line a peer that was measured on the same rows, such as by ``benchmarks/ets.py``."""
_HEAD: Final = """# Declared tasks on public logs

Written by `python benchmarks/tasks.py`. Test rows; brackets are 95% intervals, entities resampled. A reference is a plain model that was
measured outside of Cartwheel; it is met where the metric reaches it, and "within its interval" where only the interval does. Seconds are
wall time of preparing, training and judging, and depend on what else the machine did. Questions that this page does not have were not run
in this form.
"""


@dataclass(frozen=True)
class Bar:
    """What a plain model reaches.

    Attributes:
        metric: of a task's records.
        value: to reach.
        about: what reached it.
    """

    metric: str
    value: float
    about: str

    @property
    def lower(self) -> bool:
        """Whether lower is better."""
        return self.metric in LOWER_IS_BETTER

    def standing(self, found: Record | None) -> str:
        """Return whether a metric meets it."""
        if found is None or found.value is None:
            return "not measured"
        if found.value <= self.value if self.lower else found.value >= self.value:
            return "met"
        end = found.low if self.lower else found.high
        inside = end is not None and (end <= self.value if self.lower else end >= self.value)
        return "missed, within its interval" if inside else "MISSED"


@dataclass(frozen=True)
class Row:
    """A question with what it has to reach."""

    question: Question
    bars: tuple[Bar, ...] = ()
    made: MadeLog | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The files that it reads under the data folder."""
        return (*self.question.needs, *(self.made.needs if self.made else ()))

    def settings(self, data: Path, folder: Path) -> dict[str, Any]:
        """Return the configuration of its run, once the log that it is asked of is made."""
        settings = self.question.settings(data)
        if self.made is None:
            return settings
        target = folder / self.made.file
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            self.made.write(data, target)
        return {**settings, "source": {"kind": "table", "path": str(target)}}


def _mail(arm: str, label: str = "visit") -> dict[str, object]:
    return {
        "use": "targeting",
        "table": "{data}/hillstrom/hillstrom.csv",
        "label": label,
        "treatment": "segment",
        "treated": arm,
        "control": "No E-Mail",
        "leave_out": ["conversion", "spend"],
        "cost_of_treatment": 0.02,
    }


_FRAUD: Final = {"use": "risk", "table": "{data}/creditcard-fraud/creditcard.parquet", "label": "Class", "time": "Time"}
_DOLLARS: Final = {**CDNOW, "columns": {"timestamp": "date", "price": "dollars"}}
"""The sum of dollars is of an order, and no price of a piece."""
_THIRDS: Final = {"test_share": 0.3, "valid_share": 0.2}
ROWS: Final = (
    Row(
        Question(
            "risk: card fraud",
            {**TINY, "prepare": {"test_share": 0.3, "valid_share": 0.1}, "tasks": {"risk": {**_FRAUD, "max_examples": 300_000}}},
        ),
        (
            Bar("pr_auc", 0.704, "logistic regression"),
            Bar("recall_at_false_alarms", 0.787, "logistic regression"),
        ),
    ),
    Row(
        Question("spend: CDNOW, 90 days", {"source": _DOLLARS, "tasks": {"spend": {"use": "spend", "test_at": "1998-04-01"}}}),
        (
            Bar("rmse", 33.6, "a plain model"),
            Bar("top_decile_share", 0.618, "a plain model"),
            Bar("total_error", 0.05, "what is asked for"),
        ),
    ),
    Row(
        Question(
            "churn: CDNOW, 90 days",
            {
                "source": CDNOW,
                "tasks": {
                    "churn": {
                        **churn("1998-04-01", 90),
                        "features": ["user_activity", "buying_cycle"],
                        "learners": ["logistic_regression", "lightgbm", "buy_till_you_die"],
                    }
                },
            },
        ),
        (Bar("roc_auc", 0.838, "a plain model"),),
    ),
    Row(
        Question("buying cycle: CDNOW, 7 days", {"source": CDNOW, "tasks": {"cycle": {"use": "buying_cycle", "every_days": 14}}})
    ),
    Row(Question("buying cycle: Online Retail, 7 days", {"source": RETAIL, "tasks": {"cycle": {"use": "buying_cycle"}}})),
    Row(
        Question(
            "demand: Online Retail, a week",
            {
                "source": RETAIL,
                "tasks": {
                    "demand": {
                        "use": "demand",
                        "learners": ["poisson_regression", "lightgbm"],
                        "parameters": {"lightgbm": {"quantity": "best"}},
                        "cost_of_false_negative": 4.0,
                    }
                },
            },
        )
    ),
    Row(
        Question(
            "demand: M5, each of 28 days",
            {
                "tasks": {
                    "demand": {
                        "use": "demand",
                        "every_days": 28,
                        "predict": {"within_days": 1, "windows": 28},
                        "valid_from": "2016-02-29",
                        "test_at": "2016-03-28",
                        "max_examples": 200_000,
                        "learners": ["poisson_regression", "lightgbm"],
                        "parameters": {"lightgbm": {"quantity": "best"}},
                        "cost_of_false_negative": 4.0,
                    }
                },
            },
        ),
        (
            Bar("wape", 0.740, "asked for; mean of 28 days .753"),
            Bar("rmsse", 0.688, "asked for; mean of 28 days .693"),
        ),
        m5_log(1),
    ),
    Row(
        Question("targeting: Hillstrom, women's mail", {**TINY, "prepare": _THIRDS, "tasks": {"womens": _mail("Womens E-Mail")}}),
        (Bar("qini", 0.068, "a plain model, 95% .045 to .097"),),
    ),
    Row(
        Question("targeting: Hillstrom, men's mail", {**TINY, "prepare": _THIRDS, "tasks": {"mens": _mail("Mens E-Mail")}}),
        (Bar("qini", 0.010, "a plain model, 95% -.008 to .034"),),
    ),
)


def judged(row: Row, data: Path, folder: Path, *, make: bool) -> Iterator[tuple[TaskEvaluation, float]]:
    """Give the evaluation of each task of a question with its seconds, running what is not done where that is wanted."""
    path = folder / _folder(row)
    layout, seconds = RunLayout(path), path / SECONDS
    if not seconds.is_file() and not make:
        return
    run = cartwheel.open_run({"run": str(path), **row.settings(data, folder)})
    if not seconds.is_file():
        path.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        for stage in STAGES:
            stage(path, run.settings)
        write_json(seconds, {"seconds": time.monotonic() - start})
    for name in run.settings.tasks:
        yield TaskEvaluation.read(layout.task(name)), float(json.loads(seconds.read_text(encoding="utf-8"))["seconds"])


def _folder(row: Row) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in row.question.name)


def _peers(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def section(row: Row, found: TaskEvaluation, seconds: float, beside: Sequence[str] = ()) -> str:
    """Return the part of the page that is about one task; ``beside`` is what others have reached on the same rows."""
    metrics = list(dict.fromkeys([*METRICS[found.answer], *(each.name for each in found.added)]))
    lines = [f"## {row.question.name[0].upper()}{row.question.name[1:]}", ""]
    lines += [
        f"{found.rows:,} rows, {found.entities:,} of a {found.entity}, mean label {found.base_rate:.4g}; {seconds:.0f} s.",
        "",
    ]
    lines += [f"| learner | {' | '.join(map(metric_name, metrics))} |", f"|---|{'---|' * len(metrics)}"]
    for model in models(found):
        name = f"**{model_name(model)}** (served)" if model == found.served else model_name(model)
        lines.append(f"| {name} | {' | '.join(_cell(found.find(model, metric)) for metric in metrics)} |")
    lines.append("")
    for bar in row.bars:
        learnt = [each for each in models(found) if each not in BASELINES]
        best = (min if bar.lower else max)(learnt, key=lambda model: _order(found.find(model, bar.metric), bar))
        lines.append(
            f"- {metric_name(bar.metric)}, reference {bar.value:g} ({bar.about}): {bar.standing(found.find(found.served, bar.metric))} by "
            f"what is served, {bar.standing(found.find(best, bar.metric))} by {model_name(best)}"
        )
    return "\n".join([*lines, *(f"- {sentence}" for sentence in (*sentences(found), *beside)), ""])


def _order(found: Record | None, bar: Bar) -> float:
    if found is None or found.value is None:
        return float("inf") if bar.lower else float("-inf")
    return found.value


def _cell(found: Record | None) -> str:
    if found is None or found.value is None:
        return ""
    ends = "" if found.low is None or found.high is None else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.value:.4f}{ends}"


def main() -> None:
    """Answer the questions whose data is there, and write the page of all that are answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets, one folder each")
    parser.add_argument("--work", type=Path, default=Path("build/tasks"), help="where runs are kept")
    parser.add_argument("--only", default="", help="questions whose name holds this")
    given = parser.parse_args()
    console, parts = Console(width=200), [_HEAD]
    for row in ROWS:
        wanted = given.only in row.question.name
        if missing := [name for name in row.needs if not (given.data / name).exists()]:
            console.print(f"LOUD: {row.question.name} is left out: there is no {missing[0]} in {given.data}", markup=False)
            continue
        try:
            for found, seconds in judged(row, given.data.resolve(), given.work.resolve(), make=wanted):
                parts.append(section(row, found, seconds, _peers(given.work / _folder(row) / PEERS)))
                console.print(parts[-1], markup=False)
        except cartwheel.CartwheelError as error:  # a log that cannot answer says why, and the others go on
            console.print(f"{row.question.name}: {error}", markup=False)
    write_text(PAGE, "\n".join(parts))


if __name__ == "__main__":
    main()
