"""``cartwheel keys``: the API keys of a served shop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.gateway.keys import KeyFile, Role

app = typer.Typer(name="keys", help="Add, list and remove API keys.", no_args_is_help=True)
File = Annotated[Path, typer.Option("--file", help="The file named by serve.keys_file; it contains only hashes.")]
_DEFAULT_FILE = Path("keys.json")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    file: File = _DEFAULT_FILE,
    role: Annotated[Optional[list[Role]], typer.Option(help="A permission of the key; may be repeated [default: ask].")] = None,  # noqa: UP045
    rate: Annotated[
        float | None, typer.Option(help="Requests per second; 0 means no limit [default: serve.rate_per_key].", min=0)
    ] = None,
) -> None:
    """Make a key and print it, once: the file holds its hash alone. A running server knows it within a second."""
    text = KeyFile.read(file, missing=True).add(name, role or [Role.ASK], rate)
    print(text)


@app.command("list")
def list_(file: File = _DEFAULT_FILE) -> None:
    """List the keys of a file: names, roles, rates and when they were made."""
    table = Table("name", "roles", "requests a second", "made")
    for key in KeyFile.read(file).keys:
        rate = "serve.rate_per_key" if key.rate is None else "no limit" if key.rate == 0 else f"{key.rate:g}"
        table.add_row(escape(key.name), ", ".join(role.value for role in key.roles), rate, key.created)
    Console().print(table)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="Name of the key.")], file: File = _DEFAULT_FILE) -> None:
    """Remove a key; a running server refuses it within a second."""
    KeyFile.read(file).remove(name)
