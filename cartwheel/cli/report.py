"""``cartwheel report``: rewrites the report of an evaluated run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cartwheel.core.errors import RunError


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory after `cartwheel evaluate`.")],
) -> None:
    """Rewrite evaluation/report.html of a run and print its path; nothing is evaluated.

    \b
      cartwheel report runs/demo

    The report is one file that opens in any browser without a network: the verdict in words, who leads and whether the lead could be
    chance, calibration, segments, learning curves, examples of recommendations, the quality of the data, protocol and lineage.
    `cartwheel evaluate` writes it too. What the run does not hold is left out with a sentence.
    """  # noqa: D301 - click's mark of a paragraph that it must not wrap
    from cartwheel.pipeline.run_directory import RunDirectory
    from evaluation.report.page import REPORT_FILE, write_report

    if not run.is_dir():
        raise RunError(f"There is no run directory {run}.", "Give the folder that `cartwheel run` wrote, for example runs/demo.")
    directory = RunDirectory(run)
    with directory.lock():
        written = write_report(run)
        directory.rewritten("evaluate", REPORT_FILE)
    Console().print(str(written), soft_wrap=True, markup=False, highlight=False)
