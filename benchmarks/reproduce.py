"""Published tables that we rerun on the published data, in benchmarks/reproduce.md; see README.md."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402
from rich.console import Console  # noqa: E402

from cartwheel.cli.reproduce import require_agreement, run_table, versions  # noqa: E402
from cartwheel.core.errors import CartwheelError, UsageError  # noqa: E402
from cartwheel.core.files import write_text  # noqa: E402
from evaluation.reproduce import TABLES  # noqa: E402
from evaluation.reproduce.page import Ran, page  # noqa: E402

DATA: Final = ROOT.parent / "shared" / "data"
OUT: Final = ROOT / "benchmarks" / "reproduce.md"
PATHS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "movielens-100k": "ml-100k/u.data",
        "amazon-beauty": "amazon-beauty/Beauty.txt",
        "random-100-negatives": "amazon-beauty/Beauty.txt",
        "yoochoose": "yoochoose",
    }
)
"""Name of a table -> where its data lies in the folder of the data."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
_console = Console(stderr=True)


@app.command()
def main(
    only: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer on 3.10
        typer.Option("--only", metavar="NAME", help=f"Rerun this table only; may be given again: {', '.join(PATHS)}."),
    ] = None,
    data: Annotated[
        Path, typer.Option(help=f"Folder of the data, which is in it at {', '.join(dict.fromkeys(PATHS.values()))}.")
    ] = DATA,
    out: Annotated[Path, typer.Option(help="The page.")] = OUT,
) -> None:
    """Rerun published tables with `cartwheel reproduce` and write one page of what came out.

    The page holds what was run now; a table that was left out, or whose data is not there or is refused, is told with its reason. A
    figure that differs by more than its table allows ends the command with exit code 11, after the page is written.

    Example: .venv/bin/python benchmarks/reproduce.py --only yoochoose --only random-100-negatives --out reproduced.md
    """
    try:
        unknown = [name for name in only or () if name not in PATHS]
        if unknown:
            raise UsageError(f"--only is {unknown[0]!r}; expected a table.", f"There are {', '.join(PATHS)}.")
        runs, missing, refused = _run_all(only or list(PATHS), data)
        options = "".join(f" --only {shlex.quote(name)}" for name in only or ())
        write_text(out, page(runs, missing, f".venv/bin/python benchmarks/reproduce.py{options}", versions()))
        _say(f"page: {out}")
        for error in refused:
            raise error
        require_agreement(runs)
    except CartwheelError as error:
        _say(f"error: {error}")
        raise typer.Exit(error.exit_code) from None


def _run_all(chosen: list[str], data: Path) -> tuple[list[Ran], dict[str, str], list[CartwheelError]]:
    """Return what came out of each table that was chosen, why the others were not run, and whose data was refused."""
    runs: list[Ran] = []
    missing: dict[str, str] = {}
    refused: list[CartwheelError] = []
    for name, path in PATHS.items():
        if name not in chosen:
            missing[name] = "not asked for"
        elif not (data / path).exists():
            missing[name] = f"there is no {path}; it takes {TABLES[name].data}"
            _say(f"LEFT OUT: {name}: no {path} in {data}")
        else:
            try:
                runs.append(run_table(TABLES[name], data / path, (), path))
            except CartwheelError as error:
                refused.append(error)
                missing[name] = error.found.replace(f"{data}{os.sep}", "")  # the page tells nothing of this machine
                continue
            _say(f"{name}: {runs[-1].verdict.replace('**', '')}")
    return runs, missing, refused


def _say(text: str) -> None:
    _console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
