"""Answers a shop's own questions on public logs, beside the field's simple rules, and beside references where there are any.

    python benchmarks/declared_tasks.py --data ../shared/data            # all questions; --only churn for those whose name holds it

Prepares, trains and judges each task as ``cartwheel run`` does (the recommender's models are left out), and prints one row a task: the
learner that validation chose, its metric on test rows with a 95% interval, that of the best simple rule, and the reference, a plain model
measured outside of Cartwheel on the same question. Runs are kept in ``--work`` and skipped where they are done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import cartwheel  # noqa: E402
from cartwheel.core.run_layout import RunLayout  # noqa: E402
from cartwheel.pipeline import task_work, work  # noqa: E402
from evaluation.figures import Record  # noqa: E402
from evaluation.task_metrics import TaskEvaluation  # noqa: E402
from models.families.row_registry import BASELINES  # noqa: E402
from workflows.tasks.task import Answer  # noqa: E402

_METRIC: Final = {Answer.PROBABILITY: "roc_auc", Answer.QUANTITY: "wape"}
STAGES: Final = (work.events, work.tables, task_work.tasks, task_work.task_models, task_work.task_evaluation)
_DATA: Final = "{data}/"
TINY: Final = {"source": {"shoppers": 300, "items": 60, "days": 20}}
"""Events that a task about rows of a table does not read."""


@dataclass(frozen=True)
class Question:
    """A task on one log.

    Attributes:
        name: of the run's folder.
        config: of the run, in which ``{data}`` stands for the data folder.
        reference: metric of a plain model on the same question; None where there is none.
    """

    name: str
    config: Mapping[str, Any]
    reference: float | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The files that the configuration names under the data folder; none for the simulated shop."""
        return tuple(text.removeprefix(_DATA) for text in _texts(self.config) if text.startswith(_DATA))

    def settings(self, data: Path) -> dict[str, Any]:
        """Return the configuration with the data folder in it."""
        return {name: _filled(value, data) for name, value in self.config.items()}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


def _filled(value: Any, data: Path) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(each, data) for name, each in value.items()}
    return value.replace("{data}", str(data)) if isinstance(value, str) else value


RETAIL: Final = {"kind": "online_retail", "path": "{data}/online_retail/online_retail.parquet"}
CDNOW: Final = {
    "kind": "table",
    "path": "{data}/cdnow/CDNOW_master.txt",
    "separator": " ",
    "header": ["user_id", "date", "cds", "dollars"],
    "timestamp_format": "%Y%m%d",
    "default_event_type": "purchase",
    "default_item_id": "cd",
    "columns": {"timestamp": "date", "quantity": "cds", "price": "dollars"},
}
_SHOPPERS: Final = {
    "for_each": "row",
    "table": "{data}/online_shoppers/online_shoppers_intention.csv",
    "label": "Revenue",
    "shuffled": True,
}


def churn(test_at: str, days: int) -> dict[str, Any]:
    """Return the question who of all customers so far will not buy within so many days, asked in test at one instant."""
    return {"use": "churn", "test_at": test_at, "active_within_days": 3650, "predict": {"within_days": days}}


QUESTIONS: Final = (
    Question("churn of Online Retail", {"source": RETAIL, "tasks": {"churn": churn("2011-10-10", 60)}}, 0.735),
    Question("churn of CDNOW", {"source": CDNOW, "tasks": {"churn": churn("1998-04-01", 90)}}, 0.838),
    Question("intent of Online Shoppers", {**TINY, "tasks": {"intent": _SHOPPERS}}, 0.93),
    Question(
        "intent of Online Shoppers without PageValues",
        {**TINY, "tasks": {"intent": {**_SHOPPERS, "leave_out": ["PageValues"]}}},
        0.78,
    ),
    Question("demand of Online Retail", {"source": RETAIL, "tasks": {"demand": {"use": "demand"}}}),
    Question(
        "purchase intent of RetailRocket",
        {
            "source": {"kind": "retailrocket", "path": "{data}/retailrocket/events.csv"},
            "tasks": {"intent": {"use": "purchase_intent"}},
        },
    ),
    Question(
        "purchase intent of REES46",
        {"source": {"kind": "rees46", "path": "{data}/rees46/2019-Oct.csv"}, "tasks": {"intent": {"use": "purchase_intent"}}},
    ),
    Question("purchase intent of the simulated shop", {"tasks": {"intent": {"use": "purchase_intent"}}}),
    Question("demand of the simulated shop", {"tasks": {"demand": {"use": "demand"}}}),
)


def judged(question: Question, data: Path, folder: Path) -> Iterator[TaskEvaluation]:
    """Run what is not done of a question and give the evaluation of each of its tasks."""
    path = folder / question.name.replace(" ", "_")
    run = cartwheel.open_run({"run": str(path), **question.settings(data)})
    layout = RunLayout(path)
    path.mkdir(parents=True, exist_ok=True)
    if not all(layout.task(name).metrics.is_file() for name in run.settings.tasks):
        for stage in STAGES:
            stage(path, run.settings)
    for name in run.settings.tasks:
        yield TaskEvaluation.read(layout.task(name))


def row(question: Question, found: TaskEvaluation) -> list[str]:
    """Return the cells of a task."""
    metric = _METRIC[found.answer]
    rules = [each for name in BASELINES if (each := found.find(name, metric)) is not None and each.value is not None]
    best = (max if found.answer is Answer.PROBABILITY else min)(rules, key=lambda each: each.value, default=None)
    reference = "" if question.reference is None else f"{question.reference:.3f}"
    return [
        question.name, f"{found.rows:,}", f"{found.base_rate:.3g}", found.served, metric, _told(found.find(found.served, metric)),
        f"{_told(best)} {best.model}" if best else "", reference,
    ]  # fmt: skip


def _told(record: Record | None) -> str:
    if record is None or record.value is None:
        return "-"
    if record.low is None or record.high is None:
        return f"{record.value:.4f}"
    return f"{record.value:.4f} [{record.low:.4f}, {record.high:.4f}]"


def main() -> None:
    """Answer the questions whose data is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets, one folder each")
    parser.add_argument("--work", type=Path, default=Path("build/declared_tasks"), help="where runs are kept")
    parser.add_argument("--only", default="", help="questions whose name holds this")
    given = parser.parse_args()
    table = Table("question", "test rows", "base rate or mean", "served", "metric", "test", "best rule", "reference")
    console = Console(width=200)
    for question in QUESTIONS:
        if given.only not in question.name:
            continue
        if missing := [name for name in question.needs if not (given.data / name).exists()]:
            console.print(f"LOUD: {question.name} is left out: there is no {missing[0]} in {given.data}", markup=False)
            continue
        try:
            for found in judged(question, given.data.resolve(), given.work.resolve()):
                table.add_row(*row(question, found))
        except cartwheel.CartwheelError as error:  # a log that cannot answer says why, and the others go on
            console.print(f"{question.name}: {error}", markup=False)
    console.print(table)


if __name__ == "__main__":
    main()
