"""Drawings of probabilities and of training: calibration, gains, learning curves, and the days of the log."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import matplotlib.dates as mdates
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from evaluation.report.details import ChanceCurve, ProbabilityCurves, Timeline
from evaluation.report.html import Html
from evaluation.report.learning import LearningCurve
from evaluation.report.list_drawings import WIDTH, slug
from evaluation.report.names import model_name, task_name
from evaluation.report.svg import CONTRASTS, LIGHT, Tips, drawing

_DIAGONAL: Final = {"color": LIGHT["muted"], "linewidth": 0.8, "linestyle": (0, (4, 3))}


def calibration_and_gains(task: ProbabilityCurves) -> Html:
    """Draw what is said against what is seen, and how many of the positives the highest scores find."""
    shades = _shades(task)

    def draw(figure: Figure, tips: Tips) -> None:
        left, right = figure.subplots(1, 2)
        for curve in task.curves:
            _calibration(left, tips, curve, shades[curve.model])
            width = 2.4 if curve.role == "model" else 1.4
            (line,) = right.plot(
                [100 * share for share in curve.asked],
                [100 * share for share in curve.found],
                color=shades[curve.model],
                linewidth=width,
                zorder=3 if curve.role == "model" else 2,
                label=model_name(curve.model),
            )
            tips.on(line, f"{model_name(curve.model)}: {_tenth(curve)}")
        left.plot([0, 1], [0, 1], **_DIAGONAL)
        right.plot([0, 100], [0, 100], **_DIAGONAL)
        left.set_title("Calibration: predicted and observed")
        right.set_title("Cumulative gains")
        left.set_xlabel("predicted probability")
        left.set_ylabel("observed frequency")
        right.set_xlabel("highest-scored rows taken, %")
        right.set_ylabel("positives found, %")
        for axis in (left, right):
            axis.grid()
        handles, names = right.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(5, len(names)), fontsize=8.5)

    says = f"{task_name(task.task)}: calibration, and cumulative gains"
    lift = next((curve for curve in task.curves if curve.role == "model"), None)
    caption = (
        f"{task.rows:,} rows, {task.positives:,} of them positive. Left: on the diagonal, predictions are calibrated; larger dots have "
        "more rows. Right: the diagonal is a random ranking."
    )
    if lift is not None:
        caption += f" {model_name(lift.model)}: {_tenth(lift)}."
    return drawing(f"chances-{slug(task.task)}", says, (WIDTH, 3.7), draw, caption)


def _tenth(curve: ChanceCurve) -> str:
    """Say what the tenth of the rows with the highest scores holds."""
    place = min(range(len(curve.asked)), key=lambda number: abs(curve.asked[number] - 0.1))
    found = curve.found[place]
    return f"the top tenth has {found:.0%} of the positives, {found / curve.asked[place]:.1f} times its share"


def _calibration(axis: Any, tips: Tips, curve: ChanceCurve, colour: str) -> None:
    bins = curve.calibration
    if bins is None:
        return
    total = sum(bins.rows)
    ends = [(said, low, high) for said, low, high in zip(bins.said, bins.low, bins.high, strict=True) if low is not None]
    axis.vlines(
        [said for said, _, _ in ends], [low for _, low, _ in ends], [high for _, _, high in ends], color=colour, linewidth=1.2
    )
    if len(bins.rows) > 1:
        axis.plot(bins.said, bins.seen, color=colour, linewidth=1, alpha=0.6)
    sizes = [14 + 120 * rows / total for rows in bins.rows]
    mark = axis.scatter(bins.said, bins.seen, sizes, color=colour, zorder=4 if curve.role == "model" else 3)
    tips.on(mark, model_name(curve.model))


def _shades(task: ProbabilityCurves) -> dict[str, str]:
    contrasts = list(CONTRASTS)
    result = {}
    for curve in task.curves:
        if curve.role in ("model", "oracle"):
            result[curve.model] = LIGHT[curve.role]
        else:
            result[curve.model] = LIGHT[contrasts.pop(0)] if contrasts else LIGHT["rest"]
    return result


def learning_curves(curves: list[LearningCurve]) -> Html:
    """Draw training loss and validation figure of each model by epoch, the kept epoch marked."""

    def draw(figure: Figure, tips: Tips) -> None:
        axes = figure.subplots(2, len(curves), squeeze=False, sharex="col")
        for column, curve in enumerate(curves):
            above, below = axes[0][column], axes[1][column]
            epochs = list(range(1, len(curve.loss) + 1))
            (line,) = above.plot(epochs, curve.loss, color=LIGHT["one"], marker="o", markersize=3)
            tips.on(line, f"{curve.name}: training loss {curve.loss[0]:.4f} to {curve.loss[-1]:.4f}")
            above.set_title(curve.name)
            if curve.valid:
                below.plot(epochs, curve.valid, color=LIGHT["model"], marker="o", markersize=3)
            else:
                below.text(0.5, 0.5, "no validation rows", transform=below.transAxes, ha="center", color=LIGHT["muted"])
            for axis in (above, below):
                axis.axvline(curve.best_epoch + 1, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
                axis.grid(axis="y")
                axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
                axis.yaxis.set_major_locator(MaxNLocator(4))
                axis.ticklabel_format(axis="y", useOffset=False)
            below.set_ylabel(f"validation {curve.valid_metric}")
            below.set_xlabel("epoch")
        axes[0][0].set_ylabel("training loss")

    caption = "The dashed line is the epoch whose weights were kept: the best by the validation metric."
    return drawing("learning", "Training loss and validation metric by epoch", (WIDTH, 3.8), draw, caption)


def days(timeline: Timeline, cuts: dict[str, date]) -> Html:
    """Draw the events of each day by type, and where the validation and test splits begin."""

    def draw(figure: Figure, tips: Tips) -> None:
        axis = figure.subplots()
        when = [mdates.date2num(date.fromisoformat(day)) for day in timeline.days]
        kinds = sorted(timeline.counts.items(), key=lambda each: (-sum(each[1]), each[0]))
        shades = [LIGHT[name] for name in ("one", "model", "three", "two", "four", "oracle")]
        marker = "o" if len(when) == 1 else None
        for (kind, counts), shade in zip(kinds, shades, strict=False):
            known = [count or float("nan") for count in counts]  # a day without events has no place on a logarithmic axis
            (line,) = axis.plot(when, known, color=shade, linewidth=1.4, label=kind.replace("_", " "), marker=marker)
            tips.on(line, f"{kind}: {sum(counts):,} events")
        axis.xaxis_date()
        for name, day in cuts.items():
            begins = mdates.date2num(day)
            axis.axvline(begins, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
            axis.text(
                begins, 1.0, f" {name}", transform=axis.get_xaxis_transform(), fontsize=8.5, va="bottom", color=LIGHT["muted"]
            )
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.set_ylabel("events a day")
        axis.grid(axis="y")
        locator = mdates.AutoDateLocator(maxticks=8)
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8.5)

    return drawing("days", "Events a day by type", (WIDTH, 2.7), draw, "Dashed: where the validation and the test split begin.")
