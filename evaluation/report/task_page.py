"""The evaluation of declared tasks as one page, which opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cartwheel.core.files import write_text
from evaluation.report.html import tag
from evaluation.report.page import document
from evaluation.report.task_tables import task_section
from evaluation.task_metrics import TaskEvaluation

_TITLE = "Declared tasks"


def write_task_page(path: Path, found: Sequence[TaskEvaluation]) -> Path:
    """Write the page of some tasks, atomically; equal evaluations give equal bytes. Return its path."""
    contents = tag(
        "nav", tag("ol", [tag("li", tag("a", each.title, href=f"#task-{each.task}")) for each in found]), aria_label="Contents"
    )
    header = tag("header", tag("h1", _TITLE), tag("p", f"{len(found)} of this shop's own", class_="kicker"))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, document(_TITLE, contents, header, tag("main", [task_section(each) for each in found])))
    return path
