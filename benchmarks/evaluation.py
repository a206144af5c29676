"""Full ranking of many users against many items and the metrics of the lists, beside RecTools: time, processor time and memory.

Both are held against each other first: unless their metrics agree, nothing is reported. See README.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.encoding.child import Stage  # noqa: E402
from benchmarks.judging.child import run_child  # noqa: E402
from benchmarks.judging.problem import Problem, draw  # noqa: E402
from benchmarks.machine import load, machine  # noqa: E402
from cartwheel.core.errors import CartwheelError, ParityError, UsageError  # noqa: E402
from cartwheel.core.files import write_json  # noqa: E402

OURS: Final = "Cartwheel"
PEER: Final = "RecTools"
SEED: Final = 1
WORK: Final = ("rank", "metrics")
"""Stages that count as work."""
_EXACT: Final = 1e-9
"""Difference that the order of a sum makes."""
_INSTALL: Final = (
    "Make an environment with `python -m venv FOLDER` and `FOLDER/bin/pip install rectools`, and give FOLDER/bin/python."
)
# RecTools' ranker has threads of its own and asks for this; without it, it takes half as long again.
_ENVIRONMENTS: Final[Mapping[str, Mapping[str, str]]] = {OURS: {}, PEER: {"OPENBLAS_NUM_THREADS": "1"}}
_FUNCTIONS: Final = {OURS: "benchmarks.judging.by_cartwheel:evaluate", PEER: "benchmarks.judging.by_rectools:evaluate"}

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Stages = dict[str, Stage]


@dataclass(frozen=True)
class Sizes:
    """What is measured; see the options of ``main``."""

    users: int
    items: int
    truths: int
    pool: int
    seen: int
    turns: int


QUICK: Final = Sizes(users=2_000, items=5_000, truths=5, pool=100, seen=20, turns=1)


@app.command()
def main(
    peer_python: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Python of an environment that has RecTools; without it Cartwheel is measured alone."),
    ] = None,
    users: Annotated[int, typer.Option(min=8, help="Users whose lists are ranked.")] = 100_000,
    items: Annotated[int, typer.Option(min=1_000, help="Items, all of which compete in every list.")] = 100_000,
    truths: Annotated[int, typer.Option(min=1, help="Truth items of a user.")] = 5,
    pool: Annotated[
        int,
        typer.Option(help="Items drawn for each user, of which the best scored are true. As many as truth items: chance."),
    ] = 100,
    seen: Annotated[int, typer.Option(min=1, max=400, help="Items of each user's history, which are left out of the list.")] = 20,
    cutoffs: Annotated[str, typer.Option("--k", help="Cutoffs of the metrics, comma-separated.")] = "5,10,20",
    turns: Annotated[int, typer.Option(min=1, help="How often each is measured, in turn; the fastest counts.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="At a small size: to see that all is well, not how fast.")] = False,
    work: Annotated[Optional[Path], typer.Option(help="Folder for the factors, else a temporary one.")] = None,  # noqa: UP045
    json: Annotated[Optional[Path], typer.Option(help="Write the figures to this file too.")] = None,  # noqa: UP045
) -> None:
    """Rank all items for all users and measure recall, precision, NDCG, MAP, MRR, hit rate, coverage and novelty, beside RecTools.

    RecTools brings its own build of a library that Cartwheel uses too, under the same name: it must have an environment of its own.
    Figures are worth only what the machine's quiet is worth: the load average is printed before and after.
    """
    try:
        sizes = QUICK if quick else Sizes(users, items, truths, pool, seen, turns)
        ks = _cutoffs(cutoffs, sizes)
        if work:
            work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work, prefix="evaluation-benchmark-") as folder:
            _run(sizes, ks, peer_python, Path(folder) / "problem.npz", json)
    except CartwheelError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None


def agree(ours: Mapping[str, float], theirs: Mapping[str, float], ties: Mapping[str, int], problem: Problem) -> float:
    """Hold two evaluations against each other.

    Where scores tie, RecTools shows what its heap gives first and Cartwheel takes the mean over all orders (metrics of the truth) or
    the lower item (what is shown). So a list with a tie may differ, and no other.

    Args:
        ours: ``metric@k`` -> mean over users.
        theirs: the same, novelty being the mean of -log2(interactions of the item / users).
        ties: lists on which ties leave a choice, of ``truth`` and of what is ``shown``; see ``by_cartwheel.tied``.
        problem: what was evaluated.

    Returns:
        The largest difference of a metric.

    Raises:
        ParityError: if a metric is missing or differs by more than ties explain.
    """
    if set(ours) != set(theirs):
        raise ParityError(f"Only one of them has {', '.join(sorted(set(ours) ^ set(theirs)))}.", "Nothing is reported.")
    users, items = len(problem.user_factors), len(problem.item_factors)
    largest = 0.0
    for name, value in ours.items():
        metric, _, k = name.partition("@")
        allowed = ties["truth"] / users
        if metric == "novelty":  # of the share of the interactions there, of the share of the users here
            value -= log2(len(problem.seen_row) / len(np.unique(problem.seen_row)))
            allowed = ties["shown"] / users * log2(users)
        elif metric == "coverage":
            allowed = ties["shown"] * int(k) / items
        apart = abs(value - theirs[name])
        if apart > allowed + _EXACT * max(1.0, abs(value)):
            raise ParityError(
                f"{name} is {value:.9f} by {OURS} and {theirs[name]:.9f} by {PEER}; ties explain {allowed:.1e}.",
                "Nothing is reported; mend what differs first.",
            )
        largest = max(largest, apart)
    return largest


def _cutoffs(text: str, sizes: Sizes) -> list[int]:
    try:
        cutoffs = sorted({int(part) for part in text.split(",")})
    except ValueError:
        cutoffs = []
    if not cutoffs or cutoffs[0] < sizes.truths:
        raise UsageError(
            f"--k {text!r} is no list of whole numbers from {sizes.truths} on.",
            "Below the number of truth items the two define MAP otherwise. Give for example 5,10,20.",
        )
    if not sizes.truths <= sizes.pool <= sizes.items // 2:
        raise UsageError(
            f"--pool {sizes.pool} is not between the {sizes.truths} truth items and half of the items.", "Give for example 100."
        )
    return cutoffs


def _run(sizes: Sizes, cutoffs: list[int], peer_python: Path | None, path: Path, json: Path | None) -> None:
    console = Console(width=max(110, Console().width))
    pythons = {OURS: Path(sys.executable), **({PEER: peer_python.absolute()} if peer_python else {})}
    described = machine(["numpy", "polars"])
    if peer_python:
        described += f"; under {PEER}: {_peer_versions(pythons[PEER])}"
    console.print(described, highlight=False)
    problem = draw(sizes.users, sizes.items, truths=sizes.truths, pool=sizes.pool, seen=sizes.seen, seed=SEED)
    problem.save(path)
    arguments: dict[str, Any] = {"path": str(path), "cutoffs": cutoffs}

    def evaluate(name: str, users: int) -> Stages:
        return run_child(pythons[name], _FUNCTIONS[name], _ENVIRONMENTS[name], users=users, **arguments)

    measured = [{name: evaluate(name, sizes.users) for name in pythons} for _ in range(sizes.turns)]
    part = evaluate(OURS, sizes.users // 4)
    ours = measured[0][OURS]
    ties = ours["ties"].result
    if peer_python:
        apart = agree(ours["metrics"].result, measured[0][PEER]["metrics"].result, ties, problem)
        agreed = f"both gave the same {len(ours['metrics'].result)} metrics; largest difference {apart:.1e}, with ties"
        console.print(
            f"{agreed} about the truth in {ties['truth']} lists, about what is shown in {ties['shown']}", highlight=False
        )
    else:
        console.print(f"{OURS} alone. {_INSTALL}", highlight=False)
    fastest = {name: min((turn[name] for turn in measured), key=_wall) for name in pythons}
    console.print(_table(sizes, fastest, part), *_verdict(sizes, fastest, part), sep="\n", highlight=False)
    console.print(f"load average at the end: {load():.1f}", highlight=False)
    if json:
        write_json(json, _plain(described, fastest, part))


def _peer_versions(python: Path) -> str:
    """Return the versions that the peer has."""
    try:
        return str(run_child(python, "benchmarks.judging.by_rectools:versions", {})["versions"].result)
    except CartwheelError as error:
        if "No module named 'rectools'" in error.found or "No module named 'numpy'" in error.found:
            raise UsageError(f"--peer-python {python} has no RecTools.", _INSTALL) from error
        raise


def _table(sizes: Sizes, fastest: Mapping[str, Stages], part: Stages) -> Table:
    columns = ("wall s", "CPU s", "of it rank", "of it metrics", "peak MB", "before work MB", "wall of ours", "CPU of ours")
    table = Table(f"{sizes.users:,} x {sizes.items:,}", *columns)
    for column in table.columns[1:]:
        column.justify = "right"
    ours = fastest[OURS]
    for name, stages in fastest.items():
        ratios = (f"[bold]{_wall(stages) / _wall(ours):.2f}x", f"[bold]{_cpu(stages) / _cpu(ours):.2f}x")
        table.add_row(name, *_cells(stages), *ratios)
    table.add_row(f"{OURS}, 1/4 of users", *_cells(part), "", "")
    return table


def _cells(stages: Stages) -> list[str]:
    parts = [f"{stages[name].cpu_seconds:.1f}" for name in WORK]
    memory = [f"{_peak(stages):,.0f}", f"{stages['start'].peak_mb:,.0f}"]
    return [f"{_wall(stages):.1f}", f"{_cpu(stages):.1f}", *parts, *memory]


def _verdict(sizes: Sizes, fastest: Mapping[str, Stages], part: Stages) -> list[str]:
    ours = fastest[OURS]
    dense = sizes.users * sizes.items * 4 / 1e6
    held = f"{OURS} held {_peak(ours):,.0f} at most, and {_peak(part):,.0f} for a quarter of the users"
    told = [f"a matrix of all scores would take {dense:,.0f} MB; {held}"]
    if PEER in fastest:
        for what, of in (("wall clock", _wall), ("processor time", _cpu)):
            ratio = of(fastest[PEER]) / of(ours)
            told.append(f"at least as fast as {PEER}, by {what}: {'met' if ratio >= 1 else 'MISSED'} ({ratio:.2f}x)")
    return told


def _wall(stages: Stages) -> float:
    return sum(stages[name].seconds for name in WORK)


def _cpu(stages: Stages) -> float:
    return sum(stages[name].cpu_seconds for name in WORK)


def _peak(stages: Stages) -> float:
    return max(stages[name].peak_mb for name in WORK)


def _plain(described: str, fastest: Mapping[str, Stages], part: Stages) -> dict[str, Any]:
    figures = {
        name: {
            "seconds": _wall(stages),
            "cpu_seconds": _cpu(stages),
            "peak_mb": _peak(stages),
            "metrics": stages["metrics"].result,
        }
        for name, stages in fastest.items()
    }
    return {"machine": described, "load_average": load(), "quarter_peak_mb": _peak(part), "figures": figures}


if __name__ == "__main__":
    app()
