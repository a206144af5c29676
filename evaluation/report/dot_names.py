"""Names written beside dots, so that a reader need not look up colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.figure import Figure

from evaluation.report.svg import LIGHT

_LETTER: Final = 4.6
"""Points that a letter takes."""
_POINTS: Final = 72.0
_BESIDE: Final = {"left": (7, -3), "right": (-7, -3), "center": (0, 6)}
"""Alignment of a name -> its distance from the dot, in points."""


@dataclass(frozen=True)
class Dot:
    """A dot in the coordinates of its axis, and its name."""

    x: float
    y: float
    name: str


@dataclass(frozen=True)
class _Box:
    """An area of the page, in points."""

    left: float
    right: float
    bottom: float
    top: float

    def overlap(self, other: _Box) -> float:
        across = min(self.right, other.right) - max(self.left, other.left)
        up = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, across) * max(0.0, up)

    def beyond(self, left: float, right: float) -> float:
        return max(0.0, left - self.left) + max(0.0, self.right - right)


def name_dots(figure: Figure, named: Sequence[tuple[Any, Sequence[Dot]]]) -> None:
    """Write names beside dots, each on the side that covers the fewest dots and names so far.

    Args:
        figure: is laid out first, since places on the page decide.
        named: axes, each with its dots.
    """
    figure.draw_without_rendering()
    for axis, dots in named:
        places = [axis.transData.transform((dot.x, dot.y)) * _POINTS / figure.dpi for dot in dots]
        taken = [_Box(x - 4, x + 4, y - 4, y + 4) for x, y in places]
        edges = (axis.bbox.x0 * _POINTS / figure.dpi, axis.bbox.x1 * _POINTS / figure.dpi)
        for (x, y), dot in zip(places, dots, strict=True):
            boxes = _boxes(float(x), float(y), _LETTER * len(dot.name))
            costs = {side: sum(box.overlap(other) for other in taken) + 100 * box.beyond(*edges) for side, box in boxes.items()}
            side = min(costs, key=costs.__getitem__)
            taken.append(boxes[side])
            axis.annotate(
                dot.name, (dot.x, dot.y), _BESIDE[side], textcoords="offset points", ha=side, fontsize=8, color=LIGHT["muted"]
            )


def _boxes(x: float, y: float, width: float) -> dict[str, _Box]:
    return {
        "left": _Box(x + 7, x + 7 + width, y - 4, y + 4),
        "right": _Box(x - 7 - width, x - 7, y - 4, y + 4),
        "center": _Box(x - width / 2, x + width / 2, y + 6, y + 14),
    }
