"""Pictures of evaluated models for notebooks, on matplotlib axes: figures with their intervals, trade-offs, curves, learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evaluation.figures import DIFFERENCE, Evaluation, Record
from evaluation.probabilities import Forecast
from evaluation.report.names import metric_name
from evaluation.report.terminal import outcome
from models.metrics.curves import reliability, roc_points
from models.metrics.intervals import UserBootstrap

ROLE_COLOURS: Final[Mapping[str, str]] = {"model": "#0b6e4f", "baseline": "#8a8f98", "oracle": "#c77800"}
UNDECIDED: Final = "#8a8f98"
BETTER: Final = "#0b6e4f"
WORSE: Final = "#b3402a"
_VERDICT_COLOURS: Final[Mapping[str, str]] = {"better": BETTER, "worse": WORSE}


def spoken(name: str) -> str:
    """Return the name of a model, task or metric as it is said.

    >>> spoken("hit_rate"), spoken("ndcg")
    ('hit rate', 'NDCG')
    """
    return metric_name(name)


def protocol_sentence(record: Record) -> str:
    """Return in Markdown how a figure came about."""
    about = record.protocol
    sizes = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in about.sample_size.items())
    parts = [f"{about.split} split", sizes, f"candidates: {about.candidate_set}", f"left out: {about.excluded}"]
    parts += [f"ties: {about.tie_rule}", f"interval: {about.interval}"]
    warning = f" **Warning:** {about.warning}" if about.warning else ""
    return f"<small>Protocol ({spoken(record.task)}, {record.model}): {'; '.join(parts)}.{warning}</small>"


def draw_dots(
    axis: Any, records: Sequence[Record], names: Sequence[str], colours: Sequence[str], offset: float = 0.0, label: str = ""
) -> None:
    """Draw figures with their intervals, one a line, the first on top.

    Args:
        axis: ``matplotlib.axes.Axes``.
        records: the figures; one without a value is told to be not defined.
        names: of the lines.
        colours: of the lines.
        offset: how far below its line each is drawn, in lines.
        label: of all of them, in a legend.
    """
    for place, (record, colour) in enumerate(zip(records, colours, strict=True)):
        if record.value is None:
            axis.text(0.02, place, "not defined", transform=axis.get_yaxis_transform(), va="center", fontsize=8)
            continue
        if record.low is not None:
            axis.plot([record.low, record.high], [place + offset] * 2, color=colour, linewidth=2.2, solid_capstyle="round")
        axis.plot(record.value, place + offset, "o", color=colour, markersize=6, label=(label or None) if place == 0 else None)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="x", color="#e5e5e5")
    axis.locator_params(axis="x", nbins=4)


def ranked(evaluation: Evaluation, task: str, metric: str, k: int | None) -> list[Record]:
    """Return one figure of everything that was evaluated in a task, the best first, those without a value last."""
    found = [record for record in evaluation.records if (record.task, record.metric, record.k) == (task, metric, k)]
    return sorted(found, key=lambda record: float("inf") if record.value is None else -record.value)


def draw_leaderboard(axes: Sequence[Any], evaluation: Evaluation, task: str, metrics: Sequence[tuple[str, int | None]]) -> None:
    """Draw metrics of a task side by side, in the order of the first.

    Args:
        axes: one a metric, sharing y.
        evaluation: the figures.
        task: for example ``retrieval``.
        metrics: (metric, cutoff) of each of ``axes``.
    """
    order = [record.model for record in ranked(evaluation, task, *metrics[0])]
    for axis, (metric, k) in zip(axes, metrics, strict=True):
        by_model = {record.model: record for record in ranked(evaluation, task, metric, k)}
        found = [by_model[model] for model in order]
        draw_dots(axis, found, [spoken(record.model) for record in found], [ROLE_COLOURS[record.role] for record in found])
        axis.set_title(metric_name(metric, k))
        axis.set_xlim(left=0)


def draw_verdicts(axis: Any, evaluation: Evaluation, task: str, model: str, metric: str, k: int | None) -> None:
    """Draw the paired differences of a model from each baseline, coloured by what is left after Holm's correction.

    Args:
        axis: ``matplotlib.axes.Axes``.
        evaluation: the figures.
        task: for example ``retrieval``.
        model: whose lead is asked for.
        metric: for example ``ndcg``.
        k: its cutoff.
    """
    found = [
        record
        for record in evaluation.records
        if (record.task, record.model, record.k) == (task, model, k) and record.metric.startswith(metric + DIFFERENCE)
    ]
    found.sort(key=lambda record: float("inf") if record.value is None else record.value)
    names = [f"{spoken(record.baseline or '')}  (p {p_value_text(record.p_holm)})" for record in found]
    draw_dots(axis, found, names, [_VERDICT_COLOURS.get(outcome(record), UNDECIDED) for record in found])
    axis.axvline(0, color="black", linewidth=1)
    axis.set_title(f"{spoken(task)}: {spoken(model)}'s {metric_name(metric, k)} minus that of …")


def p_value_text(p_value: float | None) -> str:
    """Return a p-value as text.

    >>> p_value_text(0.0001), p_value_text(0.25), p_value_text(None)
    ('< 0.001', '0.250', '-')
    """
    if p_value is None:
        return "-"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def draw_tradeoff(axis: Any, evaluation: Evaluation, task: str, across: tuple[str, int], up: tuple[str, int]) -> None:
    """Draw every model of a task by two figures, with its place by the second one beside its dot: 1 is the highest.

    Args:
        axis: ``matplotlib.axes.Axes``.
        evaluation: the figures.
        task: for example ``retrieval``.
        across: (metric, cutoff) to the right.
        up: (metric, cutoff) upwards.
    """
    beside = {record.model: record.value for record in ranked(evaluation, task, *across)}
    for place, record in enumerate(ranked(evaluation, task, *up), 1):
        spot = beside.get(record.model), record.value
        if None not in spot:
            colour = ROLE_COLOURS[record.role]
            axis.plot(*spot, "o", color=colour, markersize=7)
            axis.annotate(str(place), spot, (5, 4), textcoords="offset points", fontsize=8, color=colour)
    axis.set(xlabel=metric_name(*across), ylabel=metric_name(*up))
    axis.margins(0.1)


def draw_roc(axis: Any, label: Any, forecasts: Mapping[str, Forecast], legends: Mapping[str, str]) -> None:
    """Draw ROC curves.

    Args:
        axis: ``matplotlib.axes.Axes``.
        label: [n] 0 or 1.
        forecasts: colour -> what was predicted of the n rows.
        legends: model -> what the legend says of it.
    """
    for colour, forecast in forecasts.items():
        axis.plot(*roc_points(label, forecast.score), color=colour, label=legends[forecast.model], linewidth=1.5)
    _diagonal(axis)
    axis.set(xlabel="false positive rate", ylabel="true positive rate")
    axis.legend(loc="lower right", edgecolor="none", framealpha=0.8, fontsize=7.5, handlelength=1, borderaxespad=0)


def draw_calibration(axis: Any, label: Any, forecasts: Mapping[str, Forecast], bootstrap: UserBootstrap) -> None:
    """Draw what models say against what happened, in the bins of the calibration error, larger dots for more rows.

    Args:
        axis: ``matplotlib.axes.Axes``.
        label: [n] 0 or 1, at least one row.
        forecasts: colour -> what was predicted of the n rows; those without probabilities are left out.
        bootstrap: resamples of the users of the n rows.
    """
    for colour, forecast in forecasts.items():
        if forecast.probability is not None:
            bins = reliability(label, forecast.probability, bootstrap)
            axis.vlines(bins.said, bins.low, bins.high, color=colour, linewidth=1.2)
            size = 12 + 140 * bins.rows / bins.rows.sum()
            axis.scatter(bins.said, bins.seen, size, color=colour, label=spoken(forecast.model), alpha=0.8)
    _diagonal(axis)
    axis.set(xlabel="predicted probability", ylabel="share that came true")
    axis.legend(loc="upper left", frameon=False, fontsize=8)


def draw_learning(axis: Any, history: Mapping[str, Any], figure: str) -> None:
    """Draw the training loss of each epoch, a figure of validation against it, and which epoch's weights were kept.

    Args:
        axis: ``matplotlib.axes.Axes``.
        history: the content of a model's ``history.json``.
        figure: the validation figure to draw, a key of its epochs; one that they lack is not drawn.
    """
    epochs = history["epochs"]
    number = [each["epoch"] + 1 for each in epochs]
    axis.plot(number, [each["loss"] for each in epochs], "o-", color="#8a8f98", markersize=3.5, label="training loss")
    axis.set(xlabel="epoch", ylabel="training loss")
    axis.locator_params(axis="x", integer=True)
    if all(figure in each for each in epochs):
        beside = axis.twinx()
        beside.plot(number, [each[figure] for each in epochs], "o-", color="#0b6e4f", markersize=3.5)
        beside.set_ylabel(f"validation {spoken(figure)}", color="#0b6e4f")
    kept = history.get("best_epoch")
    if isinstance(kept, int) and kept >= 0:
        axis.axvline(kept + 1, color="#c77800", linewidth=1.2, linestyle=":")


def _diagonal(axis: Any) -> None:
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
