"""Asks the package index which caps of pyproject.toml a newer release could lift; see docs/stack.md for why each is there.

For each capped requirement, everything else is resolved beside a release newer than the locked one. Where that succeeds, the cap is ours
alone: lift it, run the tests, and lock anew. Where it fails, it says which package is in the way.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console
from rich.table import Table

from cartwheel.core.progress import progress

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT: Final = Path(__file__).resolve().parent.parent
_EXTRAS: Final = ("learning", "train")
_CAPS: Final = frozenset({"==", "<", "<=", "~="})
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Cap:
    """A capped requirement and what became of it.

    Attributes:
        requirement: as pyproject.toml has it.
        locked: the version in requirements.lock.
        newer: the newest version that everything else goes with; "" where there is none.
        held_by: why there is none, in the resolver's words.
    """

    requirement: Requirement
    locked: str
    newer: str = ""
    held_by: str = ""


def requirements(project: dict[str, Any]) -> list[Requirement]:
    """Return what the project needs to serve and to train, without the extras that name the project itself."""
    told = [*project["dependencies"], *(text for extra in _EXTRAS for text in project["optional-dependencies"][extra])]
    found = [Requirement(text) for text in told]
    return [each for each in found if canonicalize_name(each.name) != project["name"]]


def locked_versions(lock: str) -> dict[str, str]:
    """Return the newest version of each name in the text of a lock file."""
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock, re.MULTILINE)
    }


def caps(found: Sequence[Requirement], locked: dict[str, str]) -> Iterator[Cap]:
    """Return the requirements that have an upper bound."""
    for requirement in found:
        if any(part.operator in _CAPS for part in requirement.specifier):
            yield Cap(requirement, locked[canonicalize_name(requirement.name)])


def cause(error: str, name: str) -> str:
    """Return the sentence of a failed resolution that names what is in the way of a newer release of ``name``."""
    told = " ".join(error.split())
    if re.search(rf"only {re.escape(name)}<=\S+ is available and you require", told):
        return "it is the newest there is"
    match = re.search(r"[Bb]ecause (.*?)(?:, we can conclude|\. And| hint:|$)", told)
    return match.group(1) if match else told.removeprefix("error: ")[:300]


def ask(cap: Cap, found: Sequence[Requirement], uv: str) -> Cap:
    """Resolve everything with a newer release of one requirement."""
    name = cap.requirement.name
    lines = [f"{name}>{cap.locked}" if each is cap.requirement else str(each) for each in found]
    command = [uv, "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate", "--python-version", "3.11"]
    answer = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, cwd=ROOT, check=False)
    if answer.returncode:
        return Cap(cap.requirement, cap.locked, held_by=cause(answer.stderr, name))
    return Cap(cap.requirement, cap.locked, newer=locked_versions(answer.stdout)[canonicalize_name(name)])


@app.command(help=__doc__)
def main(
    only: Annotated[list[str] | None, typer.Argument(help="Names of requirements; left out, all that are capped.")] = None,
) -> None:
    """Print the table."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        print("This needs uv, which resolves without installing. Install it with `pip install uv`.", file=sys.stderr)
        raise typer.Exit(5)
    found = requirements(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])
    asked = [
        each
        for each in caps(found, locked_versions((ROOT / "requirements.lock").read_text()))
        if not only or each.requirement.name in only
    ]
    answered = []
    with progress("ask the index", len(asked)) as advance:
        for each in asked:
            answered.append(ask(each, found, uv))
            advance(1, each.requirement.name)
    table = Table("cap", "locked", "newer that goes with the rest", "held by")
    for each in answered:
        table.add_row(str(each.requirement), each.locked, each.newer or "none", each.held_by)
    Console().print(table)


if __name__ == "__main__":
    app()
