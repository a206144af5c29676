"""A fitted workflow as Cartwheel runs it, beside NVTabular and pandas: one request, whole tables, and loading a large vocabulary.

All are held against each other first: unless they give the same numbers, nothing is timed. See README.md.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.encoding.child import Stage, run_child, without_tensorflow  # noqa: E402
from benchmarks.machine import load, machine  # noqa: E402
from cartwheel.core.errors import CartwheelError, ParityError, UsageError  # noqa: E402
from cartwheel.core.files import write_json  # noqa: E402
from workflows.compiler.quiet import quiet_nvtabular  # noqa: E402

PARTS: Final = ("request", "table", "growth", "loading")
MILLION: Final = 1_000_000
OURS: Final = "Cartwheel"
_TABLES: Final = {
    OURS: "benchmarks.encoding.tables:cartwheel",
    "NVTabular": "benchmarks.encoding.tables:nvtabular",
    "pandas": "benchmarks.encoding.by_hand:by_hand",
}
_LOADS: Final = {
    "Cartwheel, ONNX": "onnx_session",
    "Cartwheel, Polars": "polars_table",
    "NVTabular's transform": "transform",
    "NVTabular's C++ operator": "cpp",
}
_CHECKED_ROWS: Final = 100_000
_PEAK_MB: Final = 2000.0
_ROWS_HELP: Final = "Rows of the table on which all are compared, in millions."

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        users: sizes of the first vocabulary of a request.
        seconds: how long each way to answer a request is timed.
        rows: rows of the table on which all are compared.
        growth: rows of the tables that Cartwheel alone encodes.
        keys: size of the vocabulary that is loaded.
    """

    users: tuple[int, ...] = (1_000, 100_000, MILLION)
    seconds: float = 10.0
    rows: int = 20 * MILLION
    growth: tuple[int, ...] = (5 * MILLION, 10 * MILLION, 20 * MILLION, 40 * MILLION)
    keys: int = 10 * MILLION


QUICK: Final = Sizes((1_000,), 0.2, 100_000, (100_000,), 10_000)


@dataclass
class Report:
    """What was measured: tables and sentences for people, ``figures`` for programs."""

    told: list[Any] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def aim(self, what: str, *, met: bool, found: str) -> None:
        """Return whether an aim was met."""
        self.told.append(f"{what}: {'met' if met else 'MISSED'} ({found})")


@app.command()
def main(
    part: Annotated[Optional[list[str]], typer.Option(help=f"Measure only this: {', '.join(PARTS)}. May be repeated.")] = None,  # noqa: UP045
    users: Annotated[str, typer.Option(help="request: sizes of the first vocabulary, comma-separated.")] = "1000,100000,1000000",
    seconds: Annotated[float, typer.Option(min=0.05, help="request: how long each way is timed.")] = 10.0,
    rows: Annotated[float, typer.Option(min=0.01, help=f"table: {_ROWS_HELP}")] = 20.0,
    growth: Annotated[
        str, typer.Option(help="growth: rows that Cartwheel encodes alone, in millions, comma-separated.")
    ] = "5,10,20,40",
    keys: Annotated[float, typer.Option(min=0.001, help="loading: size of the vocabulary, in millions.")] = 10.0,
    quick: Annotated[bool, typer.Option("--quick", help="All at small sizes: to see that all is well, not how fast.")] = False,
    work: Annotated[Optional[Path], typer.Option(help="Folder for events and outputs, else a temporary one.")] = None,  # noqa: UP045
    json: Annotated[Optional[Path], typer.Option(help="Write the figures to this file too.")] = None,  # noqa: UP045
) -> None:
    """Measure one request, a whole table, growing tables and loading, beside NVTabular and pandas, and print the ratios.

    Each encoding of a table, and each loading, runs in a process of its own, whose processor time and memory are its own. Figures are
    worth only what the machine's quiet is worth: the load average is printed before and after.
    """
    try:
        chosen = _chosen(part)
        sizes = (
            QUICK
            if quick
            else Sizes(
                _numbers("--users", users, 1),
                seconds,
                int(rows * MILLION),
                _numbers("--growth", growth, MILLION),
                int(keys * MILLION),
            )
        )
        _run(chosen, sizes, work, json)
    except CartwheelError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None


def _chosen(parts: Sequence[str] | None) -> list[str]:
    if unknown := sorted(set(parts or ()) - set(PARTS)):
        raise UsageError(f"--part {unknown[0]!r} is not known.", f"Give one of {', '.join(PARTS)}.")
    return [part for part in PARTS if not parts or part in parts]


def _numbers(option: str, text: str, unit: int) -> tuple[int, ...]:
    try:
        numbers = tuple(int(float(part) * unit) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise UsageError(f"{option} {text!r} is no list of numbers above 0.", "Give for example 1,10.")
    return numbers


def _run(parts: Sequence[str], sizes: Sizes, work: Path | None, json: Path | None) -> None:
    console = Console(width=max(110, Console().width))
    described = machine(["nvtabular", "polars", "pandas", "onnxruntime"])
    console.print(described, highlight=False)
    measure = {"request": _request, "table": _table, "growth": _growth, "loading": _loading}
    figures: dict[str, Any] = {"machine": described}
    if work:
        work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="workflow-benchmark-") as folder:
        for part in parts:
            report = measure[part](sizes, Path(folder) / part)
            for told in report.told:
                console.print(told, highlight=False)
            console.print(f"load average after {part}: {load():.1f}\n", highlight=False)
            figures[part] = {**report.figures, "load_average": load()}
            shutil.rmtree(Path(folder) / part, ignore_errors=True)
    if json:
        write_json(json, figures)


def _request(sizes: Sizes, folder: Path) -> Report:
    """Time one request in each way, by size of the first vocabulary."""
    report = Report()
    table = _columns("one request", "users", "who", "p50 us", "p99 us", "Cartwheel's p50 is shorter")
    without_tensorflow()
    with quiet_nvtabular():
        from benchmarks.encoding.requests import ONNX, TRANSFORM, prepare_ways, time_ways

        prepared = {users: prepare_ways(users, folder / str(users)) for users in sizes.users}
        for part in prepared[sizes.users[0]]:
            ways = {(users, way.name): way for users in sizes.users for way in prepared[users][part]}
            timed = time_ways(ways, sizes.seconds)
            found = report.figures[part] = {str(users): {} for users in sizes.users}
            for (users, name), microseconds in timed.items():
                p50, p99 = (float(np.percentile(microseconds, share)) for share in (50, 99))
                found[str(users)][name] = p50
                ratio = "" if name == ONNX else f"[bold]{p50 / found[str(users)][ONNX]:,.1f}x"
                table.add_row(part, f"{users:,}", name, f"{p50:,.1f}", f"{p99:,.1f}", ratio)
            table.add_section()
    report.told.append(table)
    _judge_request(report, max(sizes.users), min(sizes.users), ONNX, TRANSFORM)
    return report


def _judge_request(report: Report, largest: int, smallest: int, ours: str, peer: str) -> None:
    for part, found in report.figures.items():
        one = found[str(largest)]
        for name, microseconds in one.items():
            if name != ours:
                aim = 1000.0 if name == peer else 1.0
                ratio = microseconds / one[ours]
                report.aim(f"{part}, {largest:,} users: at least {aim:,.0f}x of {name}", met=ratio >= aim, found=f"{ratio:,.1f}x")
    whole = next(iter(report.figures.values()))
    if largest > smallest:
        growth = whole[str(largest)][ours] / whole[str(smallest)][ours]
        report.aim(f"p50 flat from {smallest:,} to {largest:,} users, within 1.5x", met=growth <= 1.5, found=f"{growth:.2f}x")


def _table(sizes: Sizes, folder: Path) -> Report:
    """Fit and transform a table with each, after all gave the same for a small one."""
    small = min(sizes.rows, _CHECKED_ROWS)
    took = _encode_all(list(_TABLES), small, folder / "small")
    _check_tables(folder / "small")
    report = Report([f"all gave the same for {small:,} rows"])
    if small < sizes.rows:
        took = _encode_all(list(_TABLES), sizes.rows, folder / "large")
    report.told.append(_table_of(took, sizes.rows))
    spent = {name: _cpu(stages) for name, stages in took.items()}
    for name, stages in took.items():
        report.figures[name] = {"seconds": _wall(stages), "cpu_seconds": spent[name], "peak_mb": _peak(stages)}
    for name, aim in (("NVTabular", 5.0), ("pandas", 1.0)):
        ratio = spent[name] / spent[OURS]
        report.aim(f"{name} takes at least {aim:.0f}x the CPU time", met=ratio >= aim, found=f"{ratio:.1f}x")
    peak = _peak(took[OURS])
    report.aim(f"peak memory under {_PEAK_MB:,.0f} MB", met=peak < _PEAK_MB, found=f"{peak:,.0f} MB")
    return report


def _table_of(took: dict[str, dict[str, Stage]], rows: int) -> Table:
    table = _columns(f"{rows:,} rows", "wall s", "CPU s", "of it fit", "of it transform", "peak MB", "imports MB", "CPU of ours")
    for name, stages in took.items():
        parts = [f"{stages[stage].cpu_seconds:.1f}" for stage in ("fit", "transform")]
        memory = [f"{_peak(stages):,.0f}", f"{stages['start'].peak_mb:,.0f}"]
        ratio = f"[bold]{_cpu(stages) / _cpu(took[OURS]):.1f}x"
        table.add_row(name, f"{_wall(stages):.1f}", f"{_cpu(stages):.1f}", *parts, *memory, ratio)
    return table


def _check_tables(folder: Path) -> None:
    """Compare what each made of a table."""
    from benchmarks.encoding.compare import compare, read_encoded

    expected = read_encoded(folder / "NVTabular" / "encoded")
    for name in _TABLES:
        if name != "NVTabular":
            compare(expected, read_encoded(folder / name / "encoded"), ("NVTabular", name))


def _encode_all(names: Sequence[str], rows: int, folder: Path) -> dict[str, dict[str, Stage]]:
    """Fit and encode one table with each of ``names``, each in a child."""
    events = folder / "events.parquet"
    run_child("benchmarks.encoding.events:written", events=str(events), rows=rows)
    return {name: run_child(_TABLES[name], events=str(events), folder=str(folder / name)) for name in names}


def _wall(stages: dict[str, Stage]) -> float:
    return sum(stage.seconds for stage in stages.values())


def _cpu(stages: dict[str, Stage]) -> float:
    return sum(stage.cpu_seconds for stage in stages.values())


def _peak(stages: dict[str, Stage]) -> float:
    return max(stage.peak_mb for stage in stages.values())


def _growth(sizes: Sizes, folder: Path) -> Report:
    """Encode larger and larger tables with Cartwheel alone."""
    report = Report()
    table = _columns("Cartwheel alone: rows", "wall s", "CPU s", "CPU s a million rows", "peak MB")
    for rows in sizes.growth:
        stages = _encode_all([OURS], rows, folder / str(rows))[OURS]
        shutil.rmtree(folder / str(rows))
        wall, cpu, peak = _wall(stages), _cpu(stages), _peak(stages)
        table.add_row(f"{rows:,}", f"{wall:.1f}", f"{cpu:.1f}", f"{cpu / rows * MILLION:.2f}", f"{peak:,.0f}")
        report.figures[str(rows)] = {"seconds": wall, "cpu_seconds": cpu, "peak_mb": peak}
    report.told.append(table)
    peak = max(found["peak_mb"] for found in report.figures.values())
    report.aim(f"peak memory under {_PEAK_MB:,.0f} MB at all sizes", met=peak < _PEAK_MB, found=f"{peak:,.0f} MB")
    return report


def _loading(sizes: Sizes, folder: Path) -> Report:
    """Load one large vocabulary with each and answer a first and a second request."""
    arguments = {"keys": sizes.keys, "folder": str(folder)}
    run_child("benchmarks.encoding.loading:prepare", **arguments)
    took = {name: run_child(f"benchmarks.encoding.loading:{function}", **arguments) for name, function in _LOADS.items()}
    answers = {name: stages["second"].result for name, stages in took.items()}
    if len({str(answer) for answer in answers.values()}) > 1:
        raise ParityError(f"The ids of the same values differ: {answers}.", "Nothing is reported; mend what differs first.")
    report = Report()
    table = _columns(f"{sizes.keys:,} keys", "load s", "first ms", "second ms", "peak MB", "held MB", "imports MB")
    for name, stages in took.items():
        times = [f"{stages['load'].seconds:.2f}", *(f"{stages[stage].seconds * 1e3:,.2f}" for stage in ("first", "second"))]
        held, imports = stages["second"].held_mb, stages["start"].peak_mb
        table.add_row(name, *times, f"{_peak(stages):,.0f}", f"{held:,.0f}", f"{imports:,.0f}")
        seconds = {stage: stages[stage].seconds for stage in ("load", "first", "second")}
        report.figures[name] = {**seconds, "peak_mb": _peak(stages), "held_mb": held, "imports_mb": imports}
    report.told.append(table)
    return report


def _columns(*headers: str) -> Table:
    """Return an empty table whose columns of figures are flush right."""
    table = Table(*headers)
    for column, header in zip(table.columns[1:], headers[1:], strict=True):
        column.justify = "left" if header == "who" else "right"
    return table


if __name__ == "__main__":
    app()
