"""The first part of the page: the summary in words."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.report.details import Details
from evaluation.report.html import Html, paragraphs, tag
from evaluation.report.lineage import Lineage
from evaluation.report.names import task_name
from evaluation.report.verdict import can_it_be_believed, for_whom, task_verdict
from evaluation.report.views import TaskView
from workflows.tasks.task_names import JUST_ADDED


def answer(views: Sequence[TaskView], details: Details | None, lineage: Lineage) -> Html:
    """Return the summary in words."""
    if not views:
        return tag("section", tag("h2", "Summary"), tag("p", "Nothing was evaluated."), id="answer")
    first = views[0]
    verdict = task_verdict(first)
    signs = can_it_be_believed(first, views, lineage)
    others = [(view, task_verdict(view)) for view in views[1:] if view.task != JUST_ADDED]
    return tag(
        "section",
        tag(
            "div",
            tag("p", task_name(first.task), class_="kicker"),
            tag("h2", verdict.title),
            paragraphs(verdict.sentences),
            class_=f"hero {verdict.tone}",
        ),
        tag(
            "div",
            tag(
                "div",
                tag("h3", "For which segments?"),
                paragraphs(for_whom(None if details is None else details.segments)),
                class_="card",
            ),
            tag(
                "div",
                tag("h3", "Can I trust it?"),
                tag("ul", [tag("li", text, class_="good" if good else "doubt") for good, text in signs], class_="signs"),
                class_="card",
            ),
            class_="pair",
        ),
        tag("div", [_small_verdict(view, each.title, each.tone, each.sentences) for view, each in others], class_="pair")
        if others
        else None,
        id="answer",
    )


def _small_verdict(view: TaskView, title: str, tone: str, sentences: Sequence[str]) -> Html:
    return tag(
        "div", tag("p", task_name(view.task), class_="kicker"), tag("h3", title), paragraphs(sentences[:1]), class_=f"card {tone}"
    )
