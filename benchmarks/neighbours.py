"""How long counting takes: item kNN beside the library implicit, sequential rules and V-SkNN, on a simulated log. See README.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.counting.fits import NEIGHBOURS, OURS  # noqa: E402
from benchmarks.encoding.child import Stage, run_child  # noqa: E402
from benchmarks.machine import load, machine  # noqa: E402
from cartwheel.core.errors import CartwheelError, ParityError  # noqa: E402
from cartwheel.core.files import write_json  # noqa: E402
from cartwheel.pipeline.work import simulate_shop  # noqa: E402

PEER: Final = "implicit, cosine"
SEED: Final = 1
_EQUAL: Final = "item kNN, cosine"
"""Which of ours learns what the peer does."""
_EXACT: Final = 1e-9
"""Relative difference that the order of a sum makes."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    events: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="events.parquet of a simulated shop or of a run; without it a shop is simulated."),
    ] = None,
    shoppers: Annotated[int, typer.Option(min=10, help="Of the simulated shop; each has some 47 events.")] = 64_000,
    items: Annotated[int, typer.Option(min=100, help="Likewise.")] = 50_000,
    questions: Annotated[int, typer.Option(min=1, help="Histories that each of ours is asked about.")] = 1_000,
    json: Annotated[Optional[Path], typer.Option(help="Write the figures to this file too.")] = None,  # noqa: UP045
) -> None:
    """Fit models that count, each in a process of its own, and ask them for scores of the whole catalogue.

    Ours and the peer's item kNN are held against each other first: unless each item has neighbours as near, nothing is reported.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="neighbours-benchmark-") as folder:
            if events is None:
                simulate_shop(Path(folder), shoppers, items, 60, SEED)
                events = Path(folder) / "events.parquet"
            _run(events, questions, json)
    except CartwheelError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None


def agree(ours: list[float], theirs: list[float]) -> float:
    """Hold the sums of each item's greatest similarities against each other; return the largest relative difference.

    Raises:
        ParityError: if they differ by more than rounding.
    """
    one, other = np.array(ours), np.array(theirs)
    apart = np.abs(one - other) / np.maximum(np.maximum(one, other), 1e-300)
    if apart.max(initial=0.0) > _EXACT:
        raise ParityError(
            f"The neighbours of item {int(apart.argmax())} are {one[apart.argmax()]} near in sum here and {other[apart.argmax()]} there.",
            "Mend it; nothing is reported.",
        )
    return float(apart.max(initial=0.0))


def _run(events: Path, questions: int, json: Path | None) -> None:
    console = Console(width=max(110, Console().width))
    described = machine(["numpy", "numba", "implicit", "scipy"])
    rows, held = pl.scan_parquet(events).select(pl.len(), pl.col("item_id").n_unique().alias("items")).collect().row(0)
    console.print(described, f"{rows:,} events, {held:,} items, {NEIGHBOURS} neighbours of each", sep="\n", highlight=False)
    arguments = {"path": str(events.resolve())}
    measured = {PEER: run_child("benchmarks.counting.fits:peer", **arguments)}
    for name in OURS:
        measured[name] = run_child("benchmarks.counting.fits:ours", model=name, questions=questions, **arguments)
    apart = agree(measured[_EQUAL]["held"].result, measured[PEER]["held"].result)
    console.print(f"both find neighbours as near for every item; largest relative difference {apart:.1e}", highlight=False)
    console.print(_table(measured, questions), highlight=False)
    console.print(f"load average at the end: {load():.1f}", highlight=False)
    if json:
        write_json(json, {"machine": described, "events": rows, "items": held, "figures": _plain(measured, questions)})


def _table(measured: dict[str, dict[str, Stage]], questions: int) -> Table:
    table = Table("", "fit, wall s", "fit, CPU s", "of the peer's CPU", "peak MB", "CPU ms a question")
    for column in table.columns[1:]:
        column.justify = "right"
    whole = measured[PEER]["fit"].cpu_seconds
    for name, stages in measured.items():
        fit = stages["fit"]
        ratio = f"{fit.cpu_seconds / whole:.2f}" if name.startswith("item kNN") else ""
        asked = f"{stages['ask'].cpu_seconds / questions * 1000:.2f}" if "ask" in stages else ""
        table.add_row(name, f"{fit.seconds:.2f}", f"{fit.cpu_seconds:.2f}", ratio, f"{fit.peak_mb:,.0f}", asked)
    return table


def _plain(measured: dict[str, dict[str, Stage]], questions: int) -> dict[str, Any]:
    return {
        name: {
            "seconds": stages["fit"].seconds,
            "cpu_seconds": stages["fit"].cpu_seconds,
            "peak_mb": stages["fit"].peak_mb,
            **({"cpu_ms_a_question": stages["ask"].cpu_seconds / questions * 1000} if "ask" in stages else {}),
        }
        for name, stages in measured.items()
    }


if __name__ == "__main__":
    app()
