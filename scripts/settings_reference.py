"""Writes docs/settings.md, every key of a configuration with its default and its meaning, from the docstrings of the settings.

python scripts/settings_reference.py            # rewrites the page
python scripts/settings_reference.py --check    # fails where it is not what the settings say
"""

from __future__ import annotations

import argparse
import ast
import enum
import inspect
import itertools
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cartwheel.config import RunSettings
from models.families.row_registry import FAMILIES, family

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
_HEAD: Final = """# Settings

Every key of a configuration file, with its default and meaning. An unknown key is rejected, and the most similar existing key is suggested.
`python scripts/settings_reference.py` generates this page from the docstrings of the settings; edit it there.
"""


def page() -> str:
    """Return the page."""
    parts = [_HEAD, *_section("", RunSettings)]
    for name in FAMILIES:
        settings = family(name).settings
        if settings.model_fields:
            parts += _section(f"tasks.<name>.parameters.{name}", settings)
    return "\n".join(parts).rstrip() + "\n"


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    """Give the table of a section's own keys, then its sections."""
    plain = {name: field for name, field in model.model_fields.items() if _nested(field) is None}
    nested = [(name, field, inner) for name, field in model.model_fields.items() if (inner := _nested(field)) is not None]
    if path:
        yield f"## `[{path}]`\n\n{_text(model.__doc__ or '')}\n"
    if plain:
        yield "| key | type | default | meaning |\n|---|---|---|---|"
        meanings = _meanings(model)
        for name, field in plain.items():
            yield f"| `{field.alias or name}` | {_type(field.annotation)} | {_default(field)} | {meanings.get(name, '')} |"
        yield ""
    for name, field, inner in nested:
        key = field.alias or name
        yield from _section(".".join(part for part in (path, f"{key}.<name>" if _is_mapping(field) else key) if part), inner)


def _nested(field: FieldInfo) -> type[BaseModel] | None:
    """Return the settings that a key holds, by itself, optionally or by name; None where it holds a value."""
    for kind in (field.annotation, *_parts(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _is_mapping(field: FieldInfo) -> bool:
    return get_origin(field.annotation) in (dict,) or "Mapping" in str(get_origin(field.annotation))


def _parts(annotation: Any) -> tuple[Any, ...]:
    found: list[Any] = []
    for part in get_args(annotation):
        found += [part, *_parts(part)]
    return tuple(found)


def _type(annotation: Any) -> str:
    """Return a type as a reader of a TOML file knows it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{_toml(value)}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in arguments if part is not type(None))
    if origin is not None and ("tuple" in str(origin) or "list" in str(origin)):
        return f"list of {_type(arguments[0])}"
    if origin is not None:
        return "table"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "(needed)"
    if value is None or value in ((), {}, ""):
        return "none"
    return f"`{_toml(value)}`".replace("|", "\\|")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, enum.Enum):
        return _toml(value.value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, str | Path):
        return f'"{value}"'.replace("\\", "\\\\")
    return str(value)


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring under each field, those of the classes that it inherits from included."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind is BaseModel or not issubclass(kind, BaseModel):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in itertools.pairwise(body.body):
            named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[field.target.id] = _text(str(after.value.value)).replace("|", "\\|")
    return found


def _text(docstring: str) -> str:
    """Return a docstring as one line of Markdown."""
    line = re.sub(r"\s+", " ", docstring).strip()
    return line.replace("``", "`")


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    if parser.parse_args().check:
        if PAGE.read_text(encoding="utf-8") != page():
            sys.exit(f"{PAGE} is not what the settings say; run `python scripts/settings_reference.py`.")
        return
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
