"""The table of what is served as requests ask for it, one row a form of request."""

from __future__ import annotations

from typing import Final

from evaluation.figures import DIFFERENCE, Evaluation, Record
from evaluation.report.html import Html, table, tag
from evaluation.report.names import ABSENT, figure, metric_name, model_name, p_value_text
from evaluation.report.terminal import outcome
from models.families.tabular.logistic_regression import POPULARITY
from workflows.tasks.task_names import RECOMMEND_OF

_METRIC: Final = "ndcg"
_BADGES: Final = {"better": "beaten", "worse": "ahead", "tied": "not significant", "unknown": "undecided"}
_NOTE: Final = (
    "A stranger without recent items is an empty request: all such requests in one hour get one list. A stranger has no id in the "
    "snapshot. A known user has the state of the last refresh. Recent items are those of the current session."
)


def list_requests(evaluation: Evaluation) -> list[Html]:
    """Return the table with its heading, or nothing where no form was evaluated."""
    rows = [row for form, task in RECOMMEND_OF.items() if (row := _row(evaluation, form, task))]
    if not rows:
        return []
    head = ["", "moments", metric_name(_METRIC, _cutoff(evaluation)), *map(model_name, POPULARITY)]
    beside = [cell for name in POPULARITY for cell in (f"minus {model_name(name)}", "p (Holm)", "")]
    return [
        tag("h3", "Lists by form of request"),
        tag("div", table([*head, *beside], rows), tag("p", _NOTE, class_="note")),
    ]


def _cutoff(evaluation: Evaluation) -> int | None:
    """Return the first cutoff at which the lists were evaluated."""
    tasks = set(RECOMMEND_OF.values())
    return next((each.k for each in evaluation.records if each.task in tasks and each.metric == _METRIC), None)


def _row(evaluation: Evaluation, form: str, task: str) -> list[str | Html]:
    """Return the cells of a form; none where it was not evaluated."""
    k = _cutoff(evaluation)
    served = next(
        (each for each in evaluation.records if (each.task, each.role, each.metric, each.k) == (task, "model", _METRIC, k)), None
    )
    if served is None:
        return []
    popular = [evaluation.find(task, name, _METRIC, k) for name in POPULARITY]
    cells: list[str | Html] = [form, f"{served.n:,}", _told(served), *map(_told, popular)]
    for name in POPULARITY:
        lead = evaluation.find(task, served.model, f"{_METRIC}{DIFFERENCE}{name}", k)
        cells += _lead(lead)
    return cells


def _told(record: Record | None) -> str:
    return ABSENT if record is None else figure(record.value)


def _lead(record: Record | None) -> list[str | Html]:
    """Return a difference, how likely it is by chance, and what that makes of it."""
    if record is None or record.value is None:
        return [ABSENT, ABSENT, ""]
    word = outcome(record)
    p_value = p_value_text(record.p_holm).removeprefix("p ").removeprefix("= ")
    return [f"{record.value:+.4f}", p_value or ABSENT, tag("span", _BADGES[word], class_=f"badge {word}")]
