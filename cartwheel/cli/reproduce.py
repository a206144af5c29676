"""``cartwheel reproduce``: reruns a published table on the user's data and compares the results."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import textwrap
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from cartwheel.core.errors import ReproductionError, UsageError
from cartwheel.core.files import write_text

if TYPE_CHECKING:
    from evaluation.reproduce import Outcome, Table
    from evaluation.reproduce.page import Ran

_WIDTH: Final = 110
_PACKAGES: Final = ("cartwheel", "numpy", "scipy", "polars", "implicit", "tensorflow", "tf-keras")
_COLOURS: Final[Mapping[bool | None, str]] = {True: "[green]{}[/green]", False: "[red]{}[/red]", None: "{}"}


def reproduce(
    name: Annotated[Optional[str], typer.Argument(help="Name of the table [default: list all].")] = None,  # noqa: UP045 - typer on 3.10
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--data", metavar="PATH", help="The published data, in the publisher's format; the list says where to get it."
        ),
    ] = None,
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--only", metavar="MODEL", help="Run this model of the table only; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    write: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--write", metavar="FILE", help="Also write a Markdown page: metrics, protocols, versions, the command."),
    ] = None,
) -> None:
    """Rerun a published table on your data and compare our results with the published ones.

    Without a name, it lists the tables: what they compare, the file each needs and where to get it, and when a table counts as
    reproduced. Nothing is downloaded. The data must be the publisher's own, for other data has other figures.

    Example: cartwheel reproduce movielens-100k --data ml-100k/u.data --write reproduced.md

    Each row shows our figure with its 95% interval over resampled users, the published one, and whether they agree within the tolerance
    of the table. Rows without a tolerance are for information. A table that differs ends the command with exit code 11.
    """
    from cartwheel.pipeline.stages import require_training_packages

    require_training_packages()
    from evaluation.reproduce import TABLES
    from evaluation.reproduce.page import page

    if name is None:
        if data is not None or only or write is not None:
            raise UsageError("No table is given.", f"Give one of {', '.join(TABLES)}, before the options.")
        _list(TABLES, as_json=as_json)
        return
    if name not in TABLES:
        raise UsageError(f"There is no table {name!r}.", f"There are {', '.join(TABLES)}.")
    if data is None:
        raise UsageError(f"{name} needs data.", f"Give it with --data: {TABLES[name].data}")
    if write is not None and write.is_dir():  # said before the minutes that the table takes
        raise UsageError(f"--write is the folder {write}; expected a file.", f"Give for example {write / 'reproduced.md'}.")
    # A path from the root would tell of this machine and help nobody else.
    ran = run_table(TABLES[name], data, only or (), data.name if data.is_absolute() else str(data))
    if write is not None:
        write_text(write, page([ran], {}, f"{ran.command} --write {write.name}", versions()))
    if as_json:
        print(json.dumps([outcome.told for outcome in ran.outcomes], indent=2))
    else:
        _show(ran, Console() if Console().is_terminal else Console(width=_WIDTH))
    require_agreement([ran])


def run_table(table: Table, data: Path, only: Sequence[str], shown: str) -> Ran:
    """Rerun a table and take the time.

    Args:
        table: what was published.
        data: the published data.
        only: names of models; none for all.
        shown: the path of the data as the command tells it.

    Raises:
        DataError: if the data cannot be read or is other data.
        UsageError: if a name of ``only`` is not in the table.
    """
    from evaluation.reproduce import rerun
    from evaluation.reproduce.page import Ran

    started = time.monotonic()
    outcomes = tuple(rerun(table, data, only))
    words = ["cartwheel", "reproduce", table.name, "--data", shown, *(word for each in only for word in ("--only", each))]
    return Ran(table, outcomes, time.monotonic() - started, shlex.join(words))


def versions() -> str:
    """Return the cores of this machine, and the versions of Python and of what the figures hang on, in one line."""
    found = [f"{os.cpu_count()} cores", f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return ", ".join(found)


def require_agreement(runs: Sequence[Ran]) -> None:
    """Check that every judged figure agrees.

    Raises:
        ReproductionError: if one differs, naming each.
    """
    told, criteria = [], []
    for ran in runs:
        if ran.failed:
            judged = sum(outcome.passed is not None for outcome in ran.outcomes)
            figures = "; ".join(_told(outcome) for outcome in ran.failed)
            told.append(f"{ran.table.name}: {len(ran.failed)} of {judged} judged figures differ: {figures}.")
            criteria.append(ran.table.criterion)
    if told:
        raise ReproductionError(" ".join(told), " ".join(criteria))


def _told(outcome: Outcome) -> str:
    if outcome.tolerance is None or outcome.published is None:
        return f"{outcome.what} in {outcome.metric} by {outcome.ours:.4f}, which could be chance"
    return (
        f"{outcome.what} {outcome.metric} is {outcome.ours:.4f} against {outcome.published:.4f}, "
        f"{outcome.ours - outcome.published:+.4f} where {outcome.tolerance:g} is allowed"
    )


def _list(tables: Mapping[str, Table], *, as_json: bool) -> None:
    said = ("title", "source", "data", "criterion", "minutes", "models")
    if as_json:
        listed = [{"name": name, **{field: getattr(table, field) for field in said}} for name, table in tables.items()]
        print(json.dumps(listed, indent=2))
        return
    for name, table in tables.items():
        print(f"{name}: {table.title}")
        parts = {
            "published": table.source,
            "data": table.data,
            "reproduced": table.criterion,
            "models": ", ".join(table.models),
            "takes": f"about {table.minutes:g} minutes on two cores",
        }
        for label, text in parts.items():
            print(
                textwrap.fill(f"{label}: {text}", _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
            )
        print()
    print("Run one with `cartwheel reproduce NAME --data PATH`.")


def _show(ran: Ran, console: Console) -> None:
    from evaluation.reproduce.page import cells

    console.print(ran.table.title, markup=False, highlight=False)
    for setting, protocol in dict.fromkeys((outcome.setting, outcome.protocol) for outcome in ran.outcomes):
        title = f"{setting} ({protocol.hash})"
        grid = Grid("model", "metric", "ours", "95% interval", "published", "difference", "allowed", "", title=title)
        notes = {}
        for outcome in ran.outcomes:
            if outcome.protocol == protocol:
                *figures, verdict = map(escape, cells(outcome))
                grid.add_row(*figures, _COLOURS[outcome.passed].format(verdict))
                if outcome.note:
                    notes[outcome.what] = outcome.note
        console.print(grid)
        for what, note in notes.items():
            console.print(f"{what}: {note}", markup=False, highlight=False)
        if protocol.warning:
            console.print(f"warning: {protocol.warning}", style="yellow", markup=False, highlight=False)
    console.print(f"Published: {ran.table.source}", markup=False, highlight=False)
    console.print(f"Reproduced if: {ran.table.criterion}", markup=False, highlight=False)
