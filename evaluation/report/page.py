"""The page: its parts in order, the table of contents, the style, and the file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from cartwheel.core.files import write_text
from cartwheel.core.run_layout import RELATIVE
from evaluation.figures import Evaluation
from evaluation.report import provenance, sections
from evaluation.report.answer import answer
from evaluation.report.details import Details
from evaluation.report.examples_part import examples
from evaluation.report.html import Child, Html, tag
from evaluation.report.learning import LearningCurve, read_learning
from evaluation.report.lineage import Lineage, read_lineage
from evaluation.report.list_requests import list_requests
from evaluation.report.svg import DARK, LIGHT
from evaluation.report.views import task_views, without_forms

REPORT_FILE: Final = RELATIVE.report


def write_report(run: Path) -> Path:
    """Write ``evaluation/report.html`` out of what an evaluated run holds; no model is asked.

    What the run lacks is left out with a sentence. Equal runs give equal bytes, with equal versions of matplotlib.

    Args:
        run: run directory after ``cartwheel evaluate``.

    Returns:
        The file.

    Raises:
        RunError: if ``evaluation/metrics.json`` is missing, or a file of the run is damaged.
    """
    text = page(Evaluation.read(run), Details.read(run), read_learning(run), read_lineage(run))
    write_text(run / REPORT_FILE, text)
    return run / REPORT_FILE


def page(evaluation: Evaluation, details: Details | None, curves: list[LearningCurve], lineage: Lineage) -> str:
    """Return the whole page.

    Args:
        evaluation: the records.
        details: what is drawn beside them; None where the run has none.
        curves: of training.
        lineage: of the run.
    """
    everything = task_views(evaluation)
    views = without_forms(everything)
    parts: dict[str, tuple[str, list[Html]]] = {
        "leaderboards": ("Leaderboards and significance", sections.leaderboards(views)),
        "chances": ("Calibration and decisions", sections.probabilities(details, views)),
        "segments-part": (
            "Results by segment",
            [*sections.segment_part(details), *sections.retrievers(details), *list_requests(evaluation)],
        ),
        "learning-part": ("Training curves", sections.learning(curves)),
        "examples": ("Example recommendations", examples(details)),
        "data": ("Data and data quality", provenance.data(lineage, details)),
        "lineage": ("Protocol and lineage", provenance.lineage_part(lineage, everything)),
        "glossary": ("Glossary of metrics", [provenance.glossary(views)]),
    }
    body = [tag("section", tag("h2", heading), content, id=name) for name, (heading, content) in parts.items()]
    contents = [("answer", "Summary"), *((name, heading) for name, (heading, _) in parts.items())]
    return document(
        "Offline evaluation",
        tag(
            "nav", tag("ol", [tag("li", tag("a", heading, href=f"#{name}")) for name, heading in contents]), aria_label="Contents"
        ),
        tag("header", tag("h1", "Offline evaluation"), tag("p", _subtitle(lineage), class_="kicker")),
        tag("main", answer(views, details, lineage), body, tag("footer", _footer(lineage))),
    )


def _subtitle(lineage: Lineage) -> str:
    summary = lineage.summary
    if not summary:
        return "of a run without a summary of its events"
    sizes = ", ".join(
        f"{summary[name]:,} {called}" for name, called in (("rows", "events"), ("users", "users"), ("items", "items"))
    )
    return f"{sizes}, {summary['first'][:10]} to {summary['last'][:10]}"


def _footer(lineage: Lineage) -> Child:
    version = lineage.versions.get("cartwheel")
    told = "Offline metrics favour items that the shop already showed: they decide what is worth an online test, and do not replace one."
    return [
        tag("p", told),
        tag("p", f"Written by Cartwheel{f' {version}' if version else ''}. `cartwheel report` rewrites it.".replace("`", "")),
    ]


def document(title: str, *body: Html) -> str:
    """Return a whole page, its style included."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(_style())),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *body), lang='en')}\n"


def _style() -> str:
    rules = resources.files("evaluation.report").joinpath("report.css").read_text(encoding="utf-8")
    light, dark = (" ".join(f"--{name}: {value};" for name, value in colours.items()) for colours in (LIGHT, DARK))
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{rules}"
