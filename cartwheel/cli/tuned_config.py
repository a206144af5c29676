"""Writes tuned settings into the text of a configuration file, and leaves the rest unchanged."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cartwheel.config import RunSettings, load_settings, parse_settings
from cartwheel.core.errors import ConfigError
from cartwheel.core.files import write_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HEADER: Final = re.compile(r"\s*\[")
_PART: Final = re.compile(r"\"([^\"]*)\"|([^.]+)")


def section_text(section: str, values: Mapping[str, Any]) -> str:
    """Return a section as TOML; TOML has no null, so a setting that is None is left out.

    >>> print(section_text("two_tower", {"dimension": 32, "hidden": (64, 32), "id_dropout": 0.1}))
    [two_tower]
    dimension = 32
    hidden = [64, 32]
    id_dropout = 0.1
    """
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[{section}]", *lines])


def write_copy(config: Path, copy: Path, section: str, values: Mapping[str, Any], run: Path) -> None:
    """Write a copy of a configuration in which a section has other values.

    The copy names the run directory of the original, so that it goes on in the same run, whose test split counts who has been evaluated on
    it.

    Args:
        config: the original.
        copy: where to, in the same folder, where relative paths start.
        section: the section as TOML writes it: dots for sections of sections, quotes around names with dots or colons.
        values: its new values; its other keys, and comments, stay.
        run: the run directory.

    Raises:
        ConfigError: if the section is written in a way that is not edited here, such as an inline table.
    """
    text = config.read_text(encoding="utf-8")
    folder = config.resolve().parent
    named = run.relative_to(folder) if run.is_relative_to(folder) else run
    edited = _with_run(_with_section(text, section, values), named)
    if not _says(edited, copy, load_settings(config), section, values, run):
        raise ConfigError(
            f"{config} writes [{section}] in a way that cannot be edited.",
            f"Put this into it by hand: {section_text(section, values)}",
        )
    write_text(copy, edited)


def _with_section(text: str, section: str, values: Mapping[str, Any]) -> str:
    """Replace the lines of the section's keys that have new values, and add those that it lacks."""
    lines = text.splitlines()
    header = re.compile(rf"\s*\[\s*{re.escape(section)}\s*\]\s*(#.*)?$")
    begin = next((number for number, line in enumerate(lines) if header.match(line)), None)
    if begin is None:
        return f"{text.rstrip()}\n\n{section_text(section, values)}\n".lstrip("\n")
    end = next((number for number in range(begin + 1, len(lines)) if _HEADER.match(lines[number])), len(lines))
    keys = re.compile(rf"\s*({'|'.join(map(re.escape, values))})\s*=")
    kept = [line for line in lines[begin + 1 : end] if not keys.match(line)]
    while kept and not kept[-1].strip():
        kept.pop()
    own = section_text(section, values).splitlines()[1:]
    after = ["", *lines[end:]] if end < len(lines) else []
    return "\n".join([*lines[: begin + 1], *kept, *own, *after]) + "\n"


def _with_run(text: str, run: Path) -> str:
    """Name the run directory at the top level of the file, which ends with its first section."""
    lines = text.splitlines()
    end = next((number for number, line in enumerate(lines) if _HEADER.match(line)), len(lines))
    kept = [line for line in lines[:end] if not re.match(r"\s*run\s*=", line)]
    while kept and not kept[-1].strip():
        kept.pop()
    return "\n".join([*kept, f"run = {_toml(str(run))}", "", *lines[end:]]) + "\n"


def _says(text: str, copy: Path, original: RunSettings, section: str, values: Mapping[str, Any], run: Path) -> bool:
    """Whether the text says what the original does but for the section and the run directory."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    found = parse_settings(content, str(copy), copy.resolve().parent)
    expected = original.model_dump()
    place: Any = expected
    for part in (quoted or plain for quoted, plain in _PART.findall(section)):
        place = place.setdefault(part, {})
    place.update(values)
    for key in [key for key, value in values.items() if value is None]:
        del place[key]
    return found.model_dump() == RunSettings.model_validate({**expected, "run": run}).model_dump()


def _toml(value: Any) -> str:
    """Write a value as TOML, in which numbers, texts, booleans and lists look as in JSON."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
