"""Setup of every notebook: its run, the style of its figures, and the display of tables and expected errors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import CartwheelError, RunError
from cartwheel.pipeline.run_directory import RunDirectory

RUN_VARIABLE: Final = "CARTWHEEL_RUN"
"""Environment variable that names the run directory; without it a notebook reads the demo's."""

GREEN: Final = "#0b6e4f"
BLUE: Final = "#4f7cac"
ORANGE: Final = "#c77800"
GREY: Final = "#8a8f98"
PALE: Final = "#d8d8d8"

_LOOKS: Final = {
    "figure.dpi": 80,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
}


def open_run(*stages: str) -> Path:
    """Set how pictures and errors look, and return the run directory that the notebook reads.

    Args:
        stages: the stages that must be done in it, for example ``evaluate``.

    Raises:
        RunError: if the run lacks one of them.
    """
    import matplotlib.pyplot as plt

    plt.rcParams.update(_LOOKS)
    CartwheelError._render_traceback_ = _one_sentence  # type: ignore[attr-defined] # IPython asks errors for it
    demo = Path(__file__).resolve().parents[1] / "runs" / "demo"
    run = Path(os.environ.get(RUN_VARIABLE) or demo).expanduser()
    done = RunDirectory(run).manifest().stages
    lacking = [stage for stage in stages if stage not in done]
    if lacking:
        raise RunError(
            f"{run} has no run whose {' and '.join(lacking)} stage is finished.",
            f"Run `cartwheel run` (or `cartwheel demo`) first, or set {RUN_VARIABLE} to a run's folder.",
        )
    return run


def say(text: str) -> None:
    """Show Markdown below the cell."""
    from IPython.display import Markdown, display

    display(Markdown(text))  # type: ignore[no-untyped-call]


def as_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Return a Markdown table, numbers to the right; a ``|`` in a cell stays text.

    >>> print(as_table(["item", "count"], [["a|b", 1200]]))
    | item | count |
    |:---|---:|
    | a\|b | 1,200 |
    """
    lines = [list(row) for row in rows]
    numeric = [bool(lines) and all(isinstance(row[place], int | float) for row in lines) for place in range(len(header))]
    marks = ["---:" if right else ":---" for right in numeric]
    told = [header, *([_cell(value) for value in row] for row in lines)]
    table = [f"| {' | '.join(row)} |" for row in told]
    return "\n".join([table[0], f"|{'|'.join(marks)}|", *table[1:]])


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{round(value, 3) + 0.0:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _one_sentence(error: CartwheelError) -> list[str]:
    return [str(error)]
