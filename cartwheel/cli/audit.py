"""``cartwheel audit``: looks for leaks in any table that a model is to learn from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cartwheel.core.errors import LeakageError

if TYPE_CHECKING:
    from workflows.audit.table import TableAudit


def audit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="Parquet, CSV or JSON, packed or not; a file, a folder or a glob. Each row is an example."
        ),
    ],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="What is to be predicted: yes or no, a few classes, or a number.")],
    time: Annotated[
        Optional[str],  # noqa: UP045 - typer on 3.10
        typer.Option(
            metavar="COLUMN",
            help="When each prediction is asked for. Dates and times in other columns that lie after it are leaks.",
        ),
    ] = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="COLUMN", help="Which split each row is in. The same row in two splits is a leak."),
    ] = None,
    group: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="COLUMN", help="What makes rows dependent (a session, a customer); told if it is in several splits."
        ),
    ] = None,
    ignore: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="COLUMN", help="A column that no model sees, such as a row number; may be given again."),
    ] = None,
    source: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="CONFIG",
            help="A configuration file whose [source] says how the files are laid out, where that cannot be detected.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Look for leaks in a table of examples: columns that know what they cannot know yet.

    A leak makes a model look better than it will ever be. `cartwheel prepare` audits its own examples; this command does it for any
    table, before you train on it:

    - a column that is the label under another name, is filled only where it has one value, or tells it all (area under ROC above 0.99);

    - a column that tells far more of the label than the next best one does, which is for you to judge;

    - with --time, instants that come after the prediction is asked for, such as a delivery date;

    - with --split, rows in two splits; with --time too, splits that overlap in time; with --group too, groups in several.

    Example: cartwheel audit orders.csv --label returned --time ordered_at --split fold --ignore order_id

    A finding called "leak" ends the command with exit code 5, so that a script stops there; one called "look" is for you to judge.
    """
    from cartwheel.config import load_settings
    from workflows.audit.reading import read_table
    from workflows.audit.table import audit_table

    table = read_table(path, load_settings(source).source if source is not None else None)
    if table.unread:
        Console(stderr=True).print(table.unread, style="yellow", markup=False, highlight=False, soft_wrap=True)
    found = audit_table(table.rows, label, time=time, split=split, group=group, ignore=ignore or ())
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        _show(found, Console())
    leaks = [finding for finding in found.findings if finding.is_leak]
    if leaks:
        columns = ", ".join(dict.fromkeys(finding.column for finding in leaks))
        raise LeakageError(
            f"{path}: {len(leaks)} of {len(found.findings)} findings are leaks, in {columns}.",
            f"{leaks[0].column}: {leaks[0].fix}",
        )


def _show(found: TableAudit, console: Console) -> None:
    looked_at = "; ".join(f"{check} ({count:,})" for check, count in found.checks.items())
    console.print(f"{found.rows:,} labelled rows; looked at {looked_at}", markup=False, highlight=False)
    if not found.findings:
        console.print("No leak found.")
        return
    table = Table("", "column", "what", "found", "what to do")
    for finding in found.findings:
        kind = "[red]leak[/red]" if finding.is_leak else "[yellow]look[/yellow]"
        table.add_row(kind, escape(finding.column), finding.check, escape(finding.found), escape(finding.fix))
    console.print(table)
