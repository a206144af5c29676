"""Rules of an answer, as options of the command line and as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from pydantic import ValidationError

from cartwheel.core.errors import UsageError
from serving.rules.rules import Rules

Where = Annotated[
    Optional[str],  # noqa: UP045 - typer on 3.10
    typer.Option("--where", metavar="FILTER", help="Filter over item columns, such as 'price < 20 and not brand == \"x\"'."),
]
InCart = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--in-cart", metavar="ITEM", help="An item in the cart, which is not recommended; may be repeated."),
]
RulesFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--rules", metavar="FILE", help="JSON file of more rules, in the format of the body of POST /v1/recommend."),
]


def parse_rules(file: Path | None, **options: Any) -> Rules | None:
    """Return the rules of a file and of options, which come first; None where there are none.

    Raises:
        UsageError: if the file cannot be read, or a rule is none.
    """
    content = {} if file is None else _read(file)
    content = {**content, **{name: value for name, value in options.items() if value}}
    if not content:
        return None
    try:
        return Rules.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{'The rules' if file is None else file}: {where}: {first['msg']}.", "See docs/rules.md.") from None


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--rules {file} cannot be read ({error}).", "Give a JSON object, as docs/rules.md shows it.") from None
    if not isinstance(content, dict):
        raise UsageError(f"--rules {file} does not contain a JSON object.", 'Write for example {"where": "price < 20"}.')
    return content
