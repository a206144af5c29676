"""JSON, one object a line or one array of objects: each object is a record, its members are columns, dots lead into inner objects.

Numbers stay the text that they are; what a log writes as 1288 is 1288, not 1288.0.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import DataError
from workflows.events.reading.dialect import Dialect
from workflows.events.reading.opening import last_marked
from workflows.events.reading.text import UTF_8, Text

NOT_AN_OBJECT: Final = "not a JSON object"
NO_TEXT: Final = "a JSON string that is no text (half of a surrogate pair, or NUL)"
TWICE: Final = "a JSON object names a member twice"
NESTED: Final = "a list where one value was expected"
EMPTY_LINE: Final = "empty row"

_LARGEST_ARRAY: Final = 1 << 28
_BATCH: Final = 100_000


class _List(str):
    """The text of a list, which is a value of no column that wants one."""

    __slots__ = ()


class _RepeatError(ValueError):
    """An object names a member twice."""


@dataclasses.dataclass(frozen=True)
class JsonFile:
    """A file of JSON objects that has been looked through once."""

    text: Text
    dialect: Dialect
    names: tuple[str, ...]
    """The columns: each member that any object has, in the order in which they come up."""
    rows: int
    """How many lines, or elements of the array, it has."""
    lists: frozenset[str]
    """Columns that hold lists."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.text.path

    def frames(self) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
        """Yield the cells of some records each time, all String, and the flaws of the records, null where sound."""
        held: list[tuple[dict[str, str | None], str | None]] = []
        for record in _records(self.text, self.dialect):
            held.append(record)
            if len(held) == _BATCH:
                yield self._frame(held)
                held = []
        if held:
            yield self._frame(held)

    def _frame(self, held: list[tuple[dict[str, str | None], str | None]]) -> tuple[pl.DataFrame, pl.Series]:
        cells = {name: pl.Series(name, [members.get(name) for members, _ in held], dtype=pl.String) for name in self.names}
        return pl.DataFrame(cells), pl.Series([flaw for _, flaw in held], dtype=pl.String)


def json_kind(head: bytes) -> str:
    """Return ``JSON lines`` or ``JSON`` where the beginning of a file shows one, else an empty string."""
    start = head.lstrip()
    if start.startswith(b"{"):
        line = start.split(b"\n", 1)[0]
        is_whole = line.rstrip().endswith(b"}")
        return "JSON lines" if is_whole or start.count(b"\n", 0, 1 << 12) == 0 else "JSON"
    return "JSON" if start.startswith(b"[") and start[1:].lstrip()[:1] in (b"{", b"]") else ""


def inspect_json(text: Text, kind: str) -> JsonFile:
    """Look through a file of JSON objects.

    Raises:
        DataError: it cannot be read or decoded, is one object over several lines, or an array that is damaged or too large.
    """
    dialect = Dialect(kind, encoding=text.encoding, compression=text.compression)
    names: dict[str, None] = {}
    lists: set[str] = set()
    rows = 0
    for members, _ in _records(text, dialect):
        rows += 1
        names.update(dict.fromkeys(members))
        lists.update(name for name, value in members.items() if isinstance(value, _List))
    if not names:
        raise DataError(f"{text.path}: none of its {rows:,} lines is a JSON object.", "Export one object a line.")
    if rows == 1 and len(names) == len(lists):
        raise DataError(
            f"{text.path}: it is one JSON object around lists ({', '.join(map(repr, names))}), not one for each event.",
            "Export one object a line (.jsonl), or the list by itself.",
        )
    return JsonFile(text, dialect, tuple(names), rows, frozenset(lists))


def _records(text: Text, dialect: Dialect) -> Iterator[tuple[dict[str, str | None], str | None]]:
    if dialect.kind == "JSON":
        yield from _elements(text)
        return
    rest = b""
    for piece, is_last in last_marked(text.pieces()):
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        yield from map(_record, lines)
        if is_last and rest:
            yield _record(rest)


def _record(line: bytes) -> tuple[dict[str, str | None], str | None]:
    if not line.strip():
        return {}, EMPTY_LINE
    try:
        found = _LOADS(line.decode(UTF_8))
    except UnicodeDecodeError:
        return {}, "not UTF-8"
    except _RepeatError:
        return {}, TWICE
    except (ValueError, RecursionError):
        return {}, NOT_AN_OBJECT
    return _checked(found, may_hold_no_text=b"\\u" in line)


def _checked(found: Any, *, may_hold_no_text: bool) -> tuple[dict[str, str | None], str | None]:
    """Return the members of a record and its flaw; escapes may name what is no character, or NUL, which no file of text holds."""
    if not isinstance(found, dict):
        return {}, NOT_AN_OBJECT
    members = _flat(found)
    return (members, None) if not may_hold_no_text or all(map(_is_text, [*members, *members.values()])) else ({}, NO_TEXT)


def _is_text(value: str | None) -> bool:
    return value is None or not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value)


def _elements(text: Text) -> Iterator[tuple[dict[str, str | None], str | None]]:
    content = b""
    for piece in text.pieces():
        content += piece
        if len(content) > _LARGEST_ARRAY:
            raise DataError(
                f"{text.path}: one JSON array of over {_LARGEST_ARRAY >> 20} MiB.", "Export one object a line (.jsonl)."
            )
    try:
        found = _LOADS(content.decode(UTF_8))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{text.path}: the JSON is damaged ({error}).", "Export one object a line (.jsonl).") from error
    if not isinstance(found, list):
        raise DataError(f"{text.path}: one JSON object, not one for each event.", "Export one object a line (.jsonl).")
    escaped = b"\\u" in content
    yield from (_checked(element, may_hold_no_text=escaped) for element in found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatError
    return found


_LOADS: Final = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str, parse_constant=str).decode


def _flat(members: dict[str, Any], prefix: str = "") -> dict[str, str | None]:
    flat: dict[str, str | None] = {}
    for name, value in members.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            flat[prefix + name] = _List(json.dumps(value, ensure_ascii=False))
        elif isinstance(value, bool):
            flat[prefix + name] = "true" if value else "false"
        else:
            flat[prefix + name] = value or None
    return flat
