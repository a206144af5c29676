"""Drawings of declared tasks."""

from __future__ import annotations

from matplotlib.figure import Figure

from evaluation.report.html import Html, tag
from evaluation.report.list_drawings import WIDTH, slug
from evaluation.report.names import model_name
from evaluation.report.svg import LIGHT, Tips, drawing
from evaluation.task_metrics import TaskEvaluation


def costs(found: TaskEvaluation) -> list[Html]:
    """Draw what a row costs by how many are decided yes, and where the served threshold stands; empty where there are no costs."""
    curve, decision = found.costs, found.decision
    if curve is None or decision is None:
        return []

    def draw(figure: Figure, tips: Tips) -> None:
        axis = figure.subplots()
        shares = [100 * share for share in curve.yes]
        (line,) = axis.plot(shares, curve.cost, color=LIGHT["model"], linewidth=2)
        tips.on(line, f"{model_name(found.served)}: {min(curve.cost):.4f} a row at the minimum")
        mark = axis.scatter([100 * decision.yes], [decision.cost], 40, color=LIGHT["three"], zorder=4)
        tips.on(mark, f"as served: positive for {decision.yes:.2%} of the rows, {decision.cost:.4f} per row")
        for value, name in ((decision.always_no, "always negative"), (decision.always_yes, "always positive")):
            axis.axhline(value, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
            axis.annotate(name, (1.0, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8.5)
        axis.set_xscale("symlog", linthresh=100 * max(curve.yes[1], 1e-5))
        axis.set_xlim(0, 100)
        axis.set_yscale("log" if min(curve.cost) > 0 else "linear")
        axis.set_xlabel("rows predicted positive, highest probability first, %")
        axis.set_ylabel("mean cost per row")
        axis.grid()

    says = f"{found.task}: cost of decisions"
    caption = (
        f"Test rows at {decision.false_positive:g} per false positive and {decision.false_negative:g} per false negative. The dot is "
        "the threshold that validation chose."
    )
    return [tag("h4", "Cost of decisions"), drawing(f"costs-{slug(found.task)}", says, (WIDTH, 2.9), draw, caption)]
