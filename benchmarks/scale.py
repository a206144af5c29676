"""What each stage of a run takes as the log grows: seconds, CPU seconds, memory and disk. See README.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.encoding.child import Stage, run_child  # noqa: E402
from benchmarks.machine import machine  # noqa: E402
from benchmarks.scaling.stages import WITH_TENSORFLOW  # noqa: E402
from cartwheel.core.errors import CartwheelError, UsageError  # noqa: E402
from cartwheel.core.files import write_json  # noqa: E402
from cartwheel.pipeline.stages import STAGES  # noqa: E402

EVENTS_OF_A_SHOPPER: Final = 47
"""How many events a shopper of the simulated shop has in 60 days, on average."""
DAYS: Final = 60
SEED: Final = 1
NAMES: Final = tuple(stage.name for stage in STAGES if not stage.name.startswith("task"))

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    millions: Annotated[str, typer.Option(help="Millions of events of each log, with commas between them.")] = "1,3",
    items: Annotated[
        int, typer.Option(min=50, help="Items of the largest shop; a smaller one has proportionally fewer.")
    ] = 50_000,
    last: Annotated[str, typer.Option(help=f"The last stage to run: {', '.join(NAMES)}.")] = "features",
    work: Annotated[Optional[Path], typer.Option(help="Keep logs and runs here; without it they are removed.")] = None,  # noqa: UP045
    json: Annotated[Optional[Path], typer.Option(help="Write the figures to this file too.")] = None,  # noqa: UP045
) -> None:
    """Run the stages on simulated logs of growing size, each stage in a process of its own, with default settings.

    Memory is what the process held of its own at its peak, looked at fifty times a second. The last line of each stage says by how much its
    CPU seconds grew beside the events: 1.0 is linear.
    """
    try:
        sizes = _sizes(millions)
        if last not in NAMES:
            raise UsageError(f"--last {last!r} is no stage of a run.", f"Give one of {', '.join(NAMES)}.")
        with tempfile.TemporaryDirectory(prefix="scale-benchmark-") as folder:
            _run(sizes, items, NAMES[: NAMES.index(last) + 1], work or Path(folder), json)
    except CartwheelError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None


def _sizes(text: str) -> list[float]:
    try:
        sizes = sorted(float(part) for part in text.split(","))
    except ValueError:
        sizes = []
    if not sizes or sizes[0] <= 0:
        raise UsageError(f"--millions {text!r} holds no sizes of logs.", "Give for example --millions 1,3,10.")
    return sizes


def _run(sizes: list[float], items: int, names: tuple[str, ...], work: Path, json: Path | None) -> None:
    console = Console(width=130)
    console.print(machine(["cartwheel", "polars", "nvtabular"]), highlight=False)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for size in sizes:
        folder = work / f"{size:g}m"
        folder.mkdir(parents=True, exist_ok=True)
        shoppers = max(round(size * 1e6 / EVENTS_OF_A_SHOPPER), 10)
        shop = {"shoppers": shoppers, "items": max(round(items * size / sizes[-1]), 50), "days": DAYS, "seed": SEED}
        config = folder / "shop.toml"
        config.write_text('run = "run"\n[source]\nkind = "table"\npath = "simulation/events.parquet"\n')
        stages = run_child("benchmarks.scaling.stages:simulated", out=str(folder / "simulation"), **shop)
        for name in names:
            with_tensorflow = name in WITH_TENSORFLOW
            stages |= run_child("benchmarks.scaling.stages:one", tensorflow=with_tensorflow, config=str(config), stage=name)
            console.print(f"{size:g} million events, {name}: {stages[name].seconds:.1f} s", highlight=False)
        del stages["start"]
        events = int(stages["simulate"].result)
        disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        figures[f"{size:g}"] = {name: _figures(stage, events, disk) for name, stage in stages.items()}
    console.print(_table(figures))
    if json is not None:
        write_json(json, figures)


def _figures(stage: Stage, events: int, disk: float) -> dict[str, float]:
    return {
        "events": events,
        "seconds": stage.seconds,
        "cpu_seconds": stage.cpu_seconds,
        "peak_mb": stage.peak_mb,
        "disk_mb_of_all_stages": disk,
    }


def _table(figures: dict[str, dict[str, dict[str, float]]]) -> Table:
    table = Table(title="What a stage takes")
    for column in ("stage", "events", "seconds", "CPU seconds", "peak MB", "CPU seconds beside events"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name in next(iter(figures.values())):
        before: dict[str, float] | None = None
        for stages in figures.values():
            now = stages[name]
            grown = "" if before is None else f"{_growth(before, now):.2f}x"
            table.add_row(
                name, f"{now['events']:,}", f"{now['seconds']:.1f}", f"{now['cpu_seconds']:.1f}", f"{now['peak_mb']:,.0f}", grown
            )
            before = now
    return table


def _growth(before: dict[str, float], now: dict[str, float]) -> float:
    return (now["cpu_seconds"] / max(before["cpu_seconds"], 1e-9)) / (now["events"] / before["events"])


if __name__ == "__main__":
    app()
