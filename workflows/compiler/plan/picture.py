"""A plan as a picture: raw columns on the left, each step to the right of what it needs, encoded columns on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from workflows.compiler.operators.categorify import Lookup
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.show import shown_places

_RAW: Final = "#e8eef5"
_STEP: Final = "#f4f4f4"
_ENCODED: Final = "#dcebe5"
_LINE: Final = "#8a8f98"


def draw_plan(axis: Any, plan: Plan, columns: Sequence[str] | None = None) -> None:
    """Draw a plan on matplotlib axes.

    Args:
        axis: ``matplotlib.axes.Axes``; its frame and ticks are taken off.
        plan: the plan.
        columns: encoded columns to draw with all that they are made from; None means all.

    Raises:
        NotCompilableError: if the workflow makes no such column.
    """
    places = shown_places(plan, columns)
    chosen = list(plan if columns is None else columns)
    spots = positions(plan, places)
    last = 1 + max((column for column, _ in spots.values()), default=0)
    for place in places:
        for source in dict.fromkeys(plan.nodes[place].inputs):
            _arrow(axis, spots[source], spots[place])
    for place in places:
        node = plan.nodes[place]
        _box(axis, spots[place], _label(node), _RAW if node.is_raw else _STEP)
    taken: dict[int, int] = {}
    for column in chosen:
        place = plan.place(column)
        ending = (float(last), spots[place][1] + 0.45 * taken.get(place, 0))  # columns of one node stand one below the other
        taken[place] = taken.get(place, 0) + 1
        _arrow(axis, spots[place], ending)
        _box(axis, ending, f"{column}\n{plan.type(column)}", _ENCODED)
    rows = [row for _, row in spots.values()]
    axis.set_xlim(-0.6, last + 0.6)
    axis.set_ylim(max(rows, default=0.0) + 0.9, -0.6)
    axis.axis("off")


def positions(plan: Plan, places: Sequence[int]) -> Mapping[int, tuple[float, float]]:
    """Return where each node stands: as many columns to the right as steps led to it, in the mean row of what it is made from.

    Args:
        plan: the plan.
        places: nodes to place, inputs first, with all that they are made from.

    Returns:
        Place -> (column, row); raw columns have column 0, and no two nodes share a spot.
    """
    spots: dict[int, tuple[float, float]] = {}
    free: dict[float, float] = {}
    raw = 0
    for place in places:
        sources = plan.nodes[place].inputs
        if not sources:
            spots[place] = (0.0, float(raw))
            raw += 1
            continue
        column = 1 + max(spots[source][0] for source in sources)
        wished = sum(spots[source][1] for source in sources) / len(sources)
        row = max(wished, free.get(column, wished))
        free[column] = row + 1
        spots[place] = (column, row)
    return spots


def _label(node: Node) -> str:
    if node.is_raw:
        return f"{node.name}\n{node.type}"
    if node.step is None:
        return f"{node.name}\nrows {node.rows}"
    return type(node.step).__name__ + (f"\n{len(node.step.keys):,} keys" if isinstance(node.step, Lookup) else "")


def _box(axis: Any, spot: tuple[float, float], text: str, colour: str) -> None:
    style = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": _LINE, "linewidth": 0.8}
    axis.text(*spot, text, ha="center", va="center", fontsize=8, bbox=style, zorder=2)


def _arrow(axis: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.plot([start[0], end[0]], [start[1], end[1]], color=_LINE, linewidth=1, zorder=1)
