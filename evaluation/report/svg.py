"""Drawings of matplotlib as SVG within the page: text stays text, colours follow the page's light, dark or printed theme."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from evaluation.report.html import Html, markup, tag

LIGHT: Final = {
    "ink": "#1b1f24",
    "muted": "#5d6670",
    "line": "#d5dae0",
    "wash": "#eef1f4",
    "paper": "#fefefe",
    "model": "#0a7a54",
    "oracle": "#b86e00",
    "rest": "#a3abb5",
    "one": "#2f6bbd",
    "two": "#9b4f96",
    "three": "#c4472f",
    "four": "#6b6f1d",
}
"""Colours by what they are for, on white. A drawing uses these alone; in the page each is a CSS variable of that name."""
DARK: Final = {
    "ink": "#e6e9ed",
    "muted": "#9aa4af",
    "line": "#353c45",
    "wash": "#20252c",
    "paper": "#14171b",
    "model": "#4fd09a",
    "oracle": "#f0b04e",
    "rest": "#69727d",
    "one": "#7db3f5",
    "two": "#d79bd2",
    "three": "#f58f79",
    "four": "#c3c76a",
}
CONTRASTS: Final = ("one", "two", "three", "four")
"""Colours that tell baselines apart."""

_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": LIGHT["ink"],
    "axes.axisbelow": True,
    "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": LIGHT["line"],
    "ytick.color": LIGHT["line"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["ink"],
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": LIGHT["ink"],
    "lines.solid_capstyle": "round",
}
_VARIABLES: Final = {value: f"var(--{name})" for name, value in LIGHT.items()}


class Tips:
    """What the reader is told of a mark on which the pointer rests."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def on(self, artist: Any, text: str) -> None:
        """Give an artist of matplotlib its text."""
        name = f"tip{len(self.texts)}"
        artist.set_gid(name)
        self.texts[name] = text


def drawing(name: str, says: str, size: tuple[float, float], draw: Callable[[Figure, Tips], None], caption: str = "") -> Html:
    """Draw a figure.

    Args:
        name: identifier, unique in the page.
        says: what it shows, for who cannot see it.
        size: width and height in inches; the page scales it to its column.
        draw: draws on the empty figure, in the colours of ``LIGHT``.
        caption: stands under it.

    Returns:
        A ``figure`` element; equal drawings give equal bytes.
    """
    tips = Tips()
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure, tips)
        stream = io.StringIO()
        # savefig would go through the whole drawing once more, without output, before it draws
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    inner = _inlined(stream.getvalue(), name, says, tips.texts)
    return tag("figure", inner, tag("figcaption", caption) if caption else None, id=name, data_figure=name)


def _inlined(document: str, name: str, says: str, tips: dict[str, str]) -> Html:
    """Return the ``svg`` element of a document, its identifiers made the figure's own, its colours and fonts the page's."""
    text = document[document.index("<svg") :]
    opening, _, rest = text.partition(">")
    view = re.search(r'viewBox="[^"]+"', opening)
    assert view is not None
    rest = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", rest, flags=re.DOTALL)  # its style would be the whole page's
    rest = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', rest)
    rest = re.sub(r"url\(#", f"url(#{name}-", rest).replace('xlink:href="#', f'href="#{name}-')
    for tip, told in tips.items():
        mark = f'<g id="{name}-{tip}">'
        rest = rest.replace(mark, f"{mark}<title>{markup(told)}</title>")
    rest = re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), rest)
    rest = re.sub(r"(font: [^;\"]*?[\d.]+px) [^;\"]+", r"\1 var(--sans)", rest)
    told = html.escape(says)
    return Html(f'<svg {view[0]} role="img" aria-label="{told}" preserveAspectRatio="xMinYMin meet">{rest.rstrip()}')
