"""Drawings of ranked lists: leaderboard, differences, metrics by k, and accuracy against variety."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from evaluation.figures import Record
from evaluation.report.details import SegmentDifference, SegmentTable
from evaluation.report.dot_names import Dot, name_dots
from evaluation.report.html import Html
from evaluation.report.names import interval, metric_name, model_name, p_value_text, task_name
from evaluation.report.svg import CONTRASTS, LIGHT, Tips, drawing
from evaluation.report.views import TaskView

WIDTH: Final = 8.6
"""Inches of a drawing that fills the column."""
_ROW: Final = 0.3
OTHERS: Final = "other baselines"
_BY_K: Final = ("recall", "ndcg", "hit_rate")


def colours(view: TaskView) -> dict[str, str]:
    """Return a colour for each evaluated model: the trained one's, the oracle's, and contrasts for the strongest baselines."""
    result = {}
    contrasts = list(CONTRASTS)
    for model, role in view.roles.items():
        if role in ("model", "oracle"):
            result[model] = LIGHT[role]
        else:
            result[model] = LIGHT[contrasts.pop(0)] if contrasts else LIGHT["rest"]
    return result


def leaderboard(view: TaskView) -> Html:
    """Draw every model's figure of the verdict's metric with its interval, best on top."""
    metric, k = view.metric or "", view.k
    rows = [view.find(model, metric, k) for model in view.roles]
    records = [record for record in rows if record is not None and record.value is not None]

    def draw(figure: Figure, tips: Tips) -> None:
        axis = figure.subplots()
        best = next((view.value(model) for model in view.simple), None)
        if best is not None:
            axis.axvline(best, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
        for place, record in enumerate(records):
            colour = LIGHT[record.role] if record.role in ("model", "oracle") else LIGHT["rest"]
            dot(axis, tips, record, place, colour)
        name_rows(axis, [model_name(record.model) for record in records])
        axis.set_xlabel(f"{metric_name(metric, k)}; line: 95% interval; dashed: the best simple baseline")

    says = f"{task_name(view.task)}: {metric_name(metric, k)} of each model with its 95% interval"
    return drawing(f"leaderboard-{slug(view.task)}", says, (WIDTH, 0.75 + _ROW * len(records)), draw)


def differences(view: TaskView) -> Html:
    """Draw the paired difference of the model from each baseline with its interval."""
    standings = [each for each in view.standings if each.difference.value is not None]

    def draw(figure: Figure, tips: Tips) -> None:
        axis = figure.subplots()
        axis.axvline(0, color=LIGHT["ink"], linewidth=0.9)
        for place, each in enumerate(standings):
            decided = each.outcome in ("better", "worse")
            colour = {"better": LIGHT["model"], "worse": LIGHT["three"]}.get(each.outcome, LIGHT["rest"])
            dot(axis, tips, each.difference, place, colour, filled=decided)
        name_rows(axis, [f"minus {model_name(each.baseline)}" for each in standings])
        axis.set_xlabel(
            f"{metric_name(view.metric or '', view.k)} of {model_name(view.model or '')} minus the baseline's, paired by user"
        )

    says = f"{task_name(view.task)}: paired differences of {model_name(view.model or '')} from each baseline"
    caption = "Right of zero the model is better. Differences with a hollow dot are not significant."
    return drawing(f"differences-{slug(view.task)}", says, (WIDTH, 0.75 + _ROW * len(standings)), draw, caption)


def by_cutoff(view: TaskView) -> Html:
    """Draw recall, NDCG and hit rate against k for every model."""
    shades = colours(view)
    metrics = [metric for metric in _BY_K if view.cutoffs(metric)]

    def draw(figure: Figure, tips: Tips) -> None:
        axes = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axis, metric in zip(axes, metrics, strict=True):
            cutoffs = view.cutoffs(metric)
            for model in reversed(view.roles):
                found = [(k, view.find(model, metric, k)) for k in cutoffs]
                known = [(k, each) for k, each in found if each is not None and each.value is not None]
                _line(axis, tips, known, view, model, shades[model])
            axis.set_title(metric_name(metric) + "@k")
            axis.set_xscale("log")
            axis.set_xticks(cutoffs, [str(k) for k in cutoffs])
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.tick_params(which="minor", length=0)
            axis.set_ylim(bottom=0)
            axis.grid(axis="y")
            axis.set_xlabel("k")
        legend(figure, axes[0])

    says = f"{task_name(view.task)}: metrics against k"
    caption = f"Shaded: the 95% interval of {model_name(view.model or '')}."
    return drawing(f"by-k-{slug(view.task)}", says, (WIDTH, 3.15), draw, caption)


def _line(axis: Any, tips: Tips, known: Sequence[tuple[int, Record]], view: TaskView, model: str, colour: str) -> None:
    if not known:
        return
    role = view.roles[model]
    values = [float(each.value or 0.0) for _, each in known]
    bounds = [(k, each.low, each.high) for k, each in known if each.low is not None and each.high is not None]
    if role == "model" and bounds:
        axis.fill_between(*zip(*bounds, strict=True), color=colour, alpha=0.15, linewidth=0)
    label = OTHERS if colour == LIGHT["rest"] else model_name(model)
    style = {"model": "-", "oracle": (0, (4, 2))}.get(role, "-")
    width = 2.4 if role == "model" else 1.3
    (line,) = axis.plot(
        [k for k, _ in known],
        values,
        color=colour,
        linestyle=style,
        linewidth=width,
        marker="o",
        markersize=3,
        label=label,
    )
    tips.on(
        line, f"{model_name(model)}: " + ", ".join(f"{value:.4f} at {k}" for (k, _), value in zip(known, values, strict=True))
    )


def tradeoffs(view: TaskView) -> Html:
    """Draw the verdict's metric against coverage and against novelty, one named dot a model."""
    beyond = [metric for metric in ("coverage", "novelty") if view.k in view.cutoffs(metric)]

    def draw(figure: Figure, tips: Tips) -> None:
        axes = figure.subplots(1, len(beyond), squeeze=False, sharey=True)[0]
        named = []
        for axis, metric in zip(axes, beyond, strict=True):
            dots = []
            for model, role in view.roles.items():
                across, value = view.find(model, metric, view.k), view.value(model)
                if across is None or across.value is None or value is None:
                    continue
                colour = LIGHT[role] if role in ("model", "oracle") else LIGHT["rest"]
                mark = axis.scatter([across.value], [value], 80 if role == "model" else 40, color=colour)
                tips.on(mark, f"{model_name(model)}: {metric_name(metric, view.k)} {across.value:.3f}, accuracy {value:.4f}")
                dots.append(Dot(across.value, value, model_name(model)))
            axis.set_xlabel(f"{metric_name(metric, view.k)} →")
            axis.grid()
            axis.margins(0.14, 0.08)
            named.append((axis, dots))
        axes[0].set_ylabel(f"{metric_name(view.metric or '', view.k)} →")
        name_dots(figure, named)

    says = f"{task_name(view.task)}: accuracy against coverage and novelty"
    caption = "Up is more accurate. Right is more of the catalogue, and rarer items."
    return drawing(f"tradeoffs-{slug(view.task)}", says, (WIDTH, 3.6), draw, caption)


def segments(table: SegmentTable) -> Html:
    """Draw each segment's figures, and the model's paired difference from the strongest baseline."""
    known = [row for row in table.rows if any(each.value is not None for each in row.figures)]
    shades = {"most_popular": LIGHT["two"], table.strongest: LIGHT["one"]}

    def draw(figure: Figure, tips: Tips) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
        seen: dict[str, Any] = {}
        for place, row in enumerate(known):
            for number, each in enumerate(row.figures):
                offset = 0.2 * (number - (len(row.figures) - 1) / 2)
                colour = LIGHT["model"] if each.role == "model" else shades.get(each.model, LIGHT["rest"])
                if each.value is not None:
                    seen[each.model] = _dot(left, place + offset, (each.value, each.low, each.high), colour)
                    tips.on(seen[each.model], f"{row.name}, {model_name(each.model)}: {each.value:.4f}")
            for difference in row.differences:
                if difference.baseline == table.strongest and difference.value is not None:
                    ends = (difference.value, difference.low, difference.high)
                    mark = _dot(right, place, ends, LIGHT["model"], filled=is_decided(difference))
                    tips.on(mark, f"{row.name}: {difference.value:+.4f}, {p_value_text(difference.p_holm)}")
        right.axvline(0, color=LIGHT["ink"], linewidth=0.9)
        name_rows(left, [f"{row.name}, n = {row.anchors:,}" for row in known])
        right.grid(axis="x")
        right.tick_params(axis="y", length=0, labelleft=False)
        left.set_title(metric_name(table.metric, table.k))
        right.set_title(f"minus {model_name(table.strongest)}'s")
        figure.legend(list(seen.values()), [model_name(model) for model in seen], loc="outside lower center", ncols=4)

    says = f"{metric_name(table.metric, table.k)} by kind of shopper and of item"
    caption = (
        "Lines are 95% intervals. Differences with a hollow dot are not significant after correction for the number of segments."
    )
    return drawing("segments", says, (WIDTH, 1.2 + 0.5 * len(known)), draw, caption)


def is_decided(difference: SegmentDifference) -> bool:
    """Return whether a segment's difference is significant, by its interval and its corrected p-value."""
    if difference.low is None or difference.high is None or difference.p_holm is None:
        return False
    return not difference.low <= 0 <= difference.high and difference.p_holm < 0.05


def dot(axis: Any, tips: Tips, record: Record, place: float, colour: str, *, filled: bool = True) -> None:
    """Draw a record as a dot with its interval, at a height."""
    mark = _dot(axis, place, (float(record.value or 0.0), record.low, record.high), colour, filled=filled)
    told = f"{model_name(record.model)}: {record.value:.4f} ({interval(record)}) {p_value_text(record.p_holm)}"
    tips.on(mark, told.strip())


def _dot(axis: Any, place: float, ends: tuple[float, float | None, float | None], colour: str, *, filled: bool = True) -> Any:
    value, low, high = ends
    if low is not None and high is not None:
        axis.plot([low, high], [place, place], color=colour, linewidth=2.2)
    face = colour if filled else LIGHT["paper"]
    return axis.plot([value], [place], "o", color=colour, markerfacecolor=face, markeredgewidth=1.6, markersize=6.5)[0]


def name_rows(axis: Any, names: Sequence[str]) -> None:
    """Write the names of the rows of dots, the first on top."""
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x")
    axis.spines["left"].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))


def legend(figure: Figure, axis: Any) -> None:
    """Name the lines of an axis under the figure, the first drawn last, and the grey ones once."""
    handles, names = axis.get_legend_handles_labels()
    told = dict(zip(reversed(names), reversed(handles), strict=True))
    shown = [name for name in told if name != OTHERS] + [name for name in told if name == OTHERS]
    if shown:
        figure.legend([told[name] for name in shown], shown, loc="outside lower center", ncols=len(shown), fontsize=8.5)


def slug(text: str) -> str:
    """Return a text as an identifier of the page."""
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower())
