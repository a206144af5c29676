"""Who recommends best: our pipeline and every baseline, in benchmarks/leaderboard.md, one table for each data set.

Each data set is an ordinary run of Cartwheel: what is done of it is skipped, and a command that was stopped goes on where it was.
See README.md.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402
from rich.console import Console  # noqa: E402

from benchmarks.leaders.data_sets import DATA_SETS, DataSet, chosen, parse_changes, planned  # noqa: E402
from benchmarks.leaders.leave_one_out import require_leave_one_out  # noqa: E402
from benchmarks.leaders.page import page, stage_alone, verdict  # noqa: E402
from benchmarks.leaders.standing import Standing, read_standing  # noqa: E402
from cartwheel.core.errors import CartwheelError  # noqa: E402
from cartwheel.core.files import write_text  # noqa: E402
from cartwheel.pipeline.stages import run_stages  # noqa: E402

DATA: Final = ROOT.parent / "shared" / "data"
WORK: Final = ROOT / "runs" / "leaderboard"
OUT: Final = ROOT / "benchmarks" / "leaderboard.md"
REPORT: Final = "leaderboard.md"
_NAMES: Final = ", ".join(each.name for each in DATA_SETS)
_PATHS: Final = ", ".join(each.path for each in DATA_SETS if each.path)

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
_console = Console(stderr=True)


@app.command()
def main(
    only: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer on 3.10
        typer.Option(
            "--only", metavar="NAME", help=f"Judge this data set only; may be given again, or name several with commas: {_NAMES}."
        ),
    ] = None,
    data: Annotated[
        Path,
        typer.Option(help=f"Folder of the data, which is in it at {_PATHS}."),
    ] = DATA,
    work: Annotated[Path, typer.Option(help="Folder of the runs and of one JSON file a data set.")] = WORK,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The report; with --quick and none given, leaderboard.md in the folder of the quick runs."),
    ] = None,
    changes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="A setting of the runs, such as two_tower.temperature=0.2; may be given again.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=1, help="Seed of all that is random; another than 1 has a folder and a report of its own.")
    ] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small shop and hardly any training: to see that all is well, not who leads.")
    ] = False,
) -> None:
    """Train on each data set, judge beside all baselines, and write the leaderboard.

    RetailRocket, Online Retail and REES46 are split by time with the settings of configs/, the simulated shop is that of `cartwheel demo`,
    three other shops are simulated as benchmarks/leaders/made.py says, MovieLens and Amazon Beauty are evaluated leave-one-out.
    simulated_large, of ten million events, is evaluated only where it is named. Settings of one data set alone belong into its
    configuration: configs/*.toml, benchmarks/leaders/*.toml. The report has every data set of which the work folder holds a result,
    whichever are run now, and keeps what it says of the others; data that is not there is told and left out.

    Example: .venv/bin/python benchmarks/leaderboard.py --only movielens,amazon_beauty
    """
    try:
        names = [name.strip() for each in only or () for name in each.split(",") if name.strip()]
        told, selected = [*(changes or []), *([f"seed={seed}"] if seed > 1 else [])], chosen(names)
        parsed = parse_changes(told)
        work = work / f"seed-{seed}" if seed > 1 else work
        work = (work / "quick" if quick else work).absolute()
        failures = _judge_all(selected, data, work, parsed, told, quick=quick)
        report = out or (work / REPORT if quick or seed > 1 else OUT)
        _write(report, work, selected, data, failures)
    except CartwheelError as error:
        _die(error)
    _console.print(f"report: {report}", soft_wrap=True, highlight=False)
    for failure in failures.values():
        _die(failure)


def _judge_all(
    selected: Sequence[DataSet], data: Path, work: Path, changes: Mapping[str, Any], told: Sequence[str], *, quick: bool
) -> dict[str, CartwheelError]:
    """Judge each data set whose data is there, and return those that failed: one that fails does not keep the others from theirs."""
    failures: dict[str, CartwheelError] = {}
    for number, data_set in enumerate(selected, 1):
        _console.rule(f"{data_set.title} ({number} of {len(selected)})", align="left")
        if not data_set.found(data):
            _console.print(
                f"LEFT OUT: {_not_there(data_set)} in {data}", style="yellow", markup=False, highlight=False, soft_wrap=True
            )
            continue
        started = time.monotonic()
        try:
            standing = _judge(data_set, data, work, changes, told, quick=quick)
        except CartwheelError as error:
            failures[data_set.name] = error
            _console.print(f"FAILED: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            continue
        standing.write(work)
        for sentence in (verdict(standing), *(stage_alone(alone) for alone in standing.alone)):
            _console.print(sentence.replace("**", ""), markup=False, highlight=False, soft_wrap=True)
        _console.print(f"{data_set.name}: {time.monotonic() - started:.0f} s", style="dim", highlight=False)
    return failures


def _judge(
    data_set: DataSet, data: Path, work: Path, changes: Mapping[str, Any], told: Sequence[str], *, quick: bool
) -> Standing:
    """Run a data set through prepare, train and evaluate, and read who leads."""
    plan = planned(data_set, data, work, changes, quick=quick)
    _console.print(f"split {plan.split}", style="dim", highlight=False, markup=False, soft_wrap=True)
    run_stages(plan.settings, ["prepare"], _console)
    if plan.clocked is not None:
        require_leave_one_out(plan.settings.run, plan.clocked, plan.settings.prepare.max_eval_anchors)
    run_stages(plan.settings, ["train", "evaluate"], _console)
    return read_standing(plan, _options(data_set.name, told, quick=quick), quick=quick)


def _write(report: Path, work: Path, selected: Sequence[DataSet], data: Path, failures: Mapping[str, CartwheelError]) -> None:
    """Write the report from every standing that the work folder holds."""
    standings: list[Standing] = []
    missing: dict[str, str] = {}
    for each in DATA_SETS:
        standing = Standing.read(work, each.name)
        if standing is not None:
            standings.append(standing)
        elif each.name in failures:
            missing[each.name] = f"the run failed ({failures[each.name].found})"
        elif each in selected and not each.found(data):
            missing[each.name] = _not_there(each)
        else:
            missing[each.name] = "not run yet"
    former = report.read_text(encoding="utf-8") if report.is_file() else ""
    write_text(report, page(standings, missing, former))


def _not_there(data_set: DataSet) -> str:
    return f"there is no {Path(data_set.path or '') / data_set.needs}"


def _options(name: str, told: Sequence[str], *, quick: bool) -> str:
    """Return the options that make a difference to the figures of a data set, as they would be written."""
    words = ["--only", name, *(word for each in told for word in ("--set", each))]
    return "".join(f" {shlex.quote(word)}" for word in [*words, *(["--quick"] if quick else [])])


def _die(error: CartwheelError) -> None:
    Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(error.exit_code) from None


if __name__ == "__main__":
    app()
