"""``cartwheel reproduce``: reruns a published table on data that the user has, and holds ours to theirs."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from cartwheel.errors import ReproductionError, UsageError

if TYPE_CHECKING:
    from models.reproduce import Outcome, Table

_WIDTH = 110


def reproduce(
    name: Annotated[Optional[str], typer.Argument(help="Name of the table; left out, all are listed.")] = None,  # noqa: UP045 - typer on 3.10
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--data", metavar="PATH", help="The published data, in the publisher's format; the list says where to get it."
        ),
    ] = None,
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--only", metavar="MODEL", help="Run this model of the table only; may be given again."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came out as JSON.")] = False,
) -> None:
    """Rerun a published table on your data and hold our figures to theirs.

    Without a name, it lists the tables: what they compare, the file each needs and where to get it, and when a table counts as
    reproduced. Nothing is downloaded. The data must be the publisher's own, for other data has other figures.

    Example: cartwheel reproduce movielens-100k --data ml-100k/u.data

    Each row shows our figure with its 95% interval over resampled users, the published one, and whether they agree within the tolerance
    of the table. Rows without a tolerance are for information. A table that differs ends the command with exit code 11.
    """
    from cartwheel.stages import require_training_packages

    require_training_packages()
    from models.reproduce import TABLES, rerun

    if name is None:
        if data is not None or only:
            raise UsageError("No table is named.", f"Name one of {', '.join(TABLES)}, before the options.")
        _list(TABLES, as_json=as_json)
        return
    if name not in TABLES:
        raise UsageError(f"There is no table {name!r}.", f"There are {', '.join(TABLES)}.")
    table = TABLES[name]
    if data is None:
        raise UsageError(f"{name} needs its data.", f"Give it with --data: {table.data}")
    outcomes = list(rerun(table, data, only or ()))
    if as_json:
        print(json.dumps([{**dataclasses.asdict(outcome), "difference": outcome.difference} for outcome in outcomes], indent=2))
    else:
        _show(table, outcomes, Console() if Console().is_terminal else Console(width=_WIDTH))
    _require_agreement(table, outcomes)


def _require_agreement(table: Table, outcomes: list[Outcome]) -> None:
    """Raise if a judged figure differs."""
    failed = [outcome for outcome in outcomes if outcome.passed is False]
    if failed:
        told = "; ".join(_told(outcome) for outcome in failed)
        judged = sum(outcome.passed is not None for outcome in outcomes)
        raise ReproductionError(f"{table.name}: {len(failed)} of {judged} judged figures differ: {told}.", table.criterion)


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


def _show(table: Table, outcomes: list[Outcome], console: Console) -> None:
    console.print(table.title, markup=False, highlight=False)
    for setting, protocol in dict.fromkeys((outcome.setting, outcome.protocol) for outcome in outcomes):
        grid = Grid(
            "model", "metric", "ours", "95% interval", "published", "difference", "allowed", "", title=f"{setting} ({protocol})"
        )
        notes = {}
        for outcome in outcomes:
            if outcome.protocol == protocol:
                grid.add_row(*_cells(outcome))
                if outcome.note:
                    notes[outcome.what] = outcome.note
        console.print(grid)
        for what, note in notes.items():
            console.print(f"{what}: {note}", markup=False, highlight=False)
    console.print(f"Published: {table.source}", markup=False, highlight=False)
    console.print(f"Reproduced if: {table.criterion}", markup=False, highlight=False)


def _cells(outcome: Outcome) -> list[str]:
    interval = "" if outcome.low is None or outcome.high is None else f"{outcome.low:.4f} to {outcome.high:.4f}"
    verdict = {True: "[green]agrees[/green]", False: "[red]differs[/red]", None: "not judged"}[outcome.passed]
    return [
        escape(outcome.what),
        outcome.metric,
        f"{outcome.ours:.4f}",
        interval,
        "" if outcome.published is None else f"{outcome.published:.4f}",
        "" if outcome.difference is None else f"{outcome.difference:+.4f}",
        "" if outcome.tolerance is None else f"{outcome.tolerance:g}",
        verdict,
    ]
