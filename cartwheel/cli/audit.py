"""``cartwheel audit``: looks for leaks in any table of training data."""

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
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The target column: binary, a few classes, or a number.")],
    time: Annotated[
        Optional[str],  # noqa: UP045 - typer on 3.10
        typer.Option(
            metavar="COLUMN",
            help="Time of each prediction. Later dates and times in other columns are leaks.",
        ),
    ] = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="COLUMN", help="Split of each row. The same row in two splits is a leak."),
    ] = None,
    group: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="COLUMN", help="Group of dependent rows (a session, a customer); reported if it is in several splits."
        ),
    ] = None,
    ignore: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="COLUMN", help="A column that no model uses, such as a row number; may be repeated."),
    ] = None,
    source: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="CONFIG",
            help="A configuration file whose [source] describes what cannot be detected in the files.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look for leaks in a table of examples: columns with information that is not available at prediction time.

    A leak makes a model look better than it will be in production. `cartwheel prepare` audits its own examples; this command audits any
    table before you train on it:

    - a column that is the label under another name, is filled only for one value of it, or predicts it fully (ROC AUC above 0.99);

    - a column that is far more predictive than the next best one, which needs your judgement;

    - with --time, times after the prediction, such as a delivery date;

    - with --split, rows in two splits; with --time too, splits that overlap in time; with --group too, groups in several.

    Example: cartwheel audit orders.csv --label returned --time ordered_at --split fold --ignore order_id

    A finding marked "leak" ends the command with exit code 5; one marked "look" needs your judgement.
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
