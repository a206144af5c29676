"""The same table written in every way in which shops export one, and rows that no reader can read."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pyarrow as pa

from workflows.events import reading

Sheet: TypeAlias = list[list[str]]
"""The names of the columns, then the rows."""

AWKWARD: Final = (
    '15" laptop, black',
    'say "hi" now',
    "first\nsecond",
    "a\\b",
    "c:\\temp\\",
    "'single'",
    "# no comment",
    "é;|\tü",
    " x ",
)
"""Cells that must come back as they are from any dialect that can hold them."""


@dataclass(frozen=True)
class Way:
    """One way to write a table."""

    write: Callable[[Sheet], bytes]
    suffix: str = ".csv"
    settings: Mapping[str, Any] = field(default_factory=dict)


def text(sheet: Sheet, **dialect: Any) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, **{"lineterminator": "\n", **dialect}).writerows(sheet)
    return stream.getvalue()


def _written(**dialect: Any) -> Callable[[Sheet], bytes]:
    return lambda sheet: text(sheet, **dialect).encode()


def _before(lines: str, **dialect: Any) -> Callable[[Sheet], bytes]:
    return lambda sheet: (lines + text(sheet, **dialect)).encode()


def _encoded(encoding: str) -> Callable[[Sheet], bytes]:
    return lambda sheet: text(sheet).encode(encoding)


def _packed(pack: Callable[[bytes], bytes]) -> Callable[[Sheet], bytes]:
    return lambda sheet: pack(text(sheet).encode())


def _zstd(content: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(content)
    return bytes(buffer.getvalue())


def _spark(sheet: Sheet) -> bytes:
    """Spark quotes where it must, and there escapes quotation marks and escapes."""

    def cell(value: str) -> str:
        if not set(value) & set(',"\n'):
            return value
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "".join(",".join(map(cell, row)) + "\n" for row in sheet).encode()


def _objects(sheet: Sheet) -> list[dict[str, str | None]]:
    return [dict(zip(sheet[0], (value or None for value in row), strict=True)) for row in sheet[1:]]


def _json_lines(sheet: Sheet) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in _objects(sheet)).encode()


def _blank_after_separator(sheet: Sheet) -> bytes:
    return "\n".join(", ".join('"' + value.replace('"', '""') + '"' for value in row) for row in sheet).encode()


def _broken_header(sheet: Sheet) -> bytes:
    return text([[*sheet[0], "two\nlines"], *([*row, ""] for row in sheet[1:])]).encode()


WAYS: Final = {
    "semicolon": Way(_written(delimiter=";")),
    "tab, .tsv": Way(_written(delimiter="\t"), ".tsv"),
    "tab, .txt": Way(_written(delimiter="\t"), ".txt"),
    "bar, .psv": Way(_written(delimiter="|"), ".psv"),
    "control-a without suffix": Way(_written(delimiter="\x01"), ""),
    "several characters": Way(
        lambda sheet: text(sheet, delimiter="\x02").replace("\x02", "||").encode(), settings={"separator": "||"}
    ),
    "a rare separator": Way(_written(delimiter="^"), settings={"separator": "^"}),
    "everything quoted": Way(_written(quoting=csv.QUOTE_ALL)),
    "single quotes": Way(_written(quotechar="'", quoting=csv.QUOTE_ALL), settings={"quote": "'"}),
    "escapes": Way(_written(escapechar="\\", doublequote=False), settings={"escape": "\\"}),
    "escapes without quotes": Way(_written(escapechar="\\", quoting=csv.QUOTE_NONE), settings={"escape": "\\", "quote": ""}),
    "escapes as Spark writes them": Way(_spark),
    "lines end in CRLF": Way(_written(lineterminator="\r\n")),
    "lines end in CR": Way(lambda sheet: text(sheet, lineterminator="\r", quoting=csv.QUOTE_ALL).encode()),
    "no line end at the end": Way(lambda sheet: text(sheet).rstrip("\n").encode()),
    "byte order mark": Way(_encoded("utf-8-sig")),
    "UTF-16": Way(_encoded("utf-16")),
    "UTF-16, big end first": Way(lambda sheet: b"\xfe\xff" + text(sheet).encode("utf-16-be")),
    "UTF-32": Way(_encoded("utf-32")),
    "UTF-16 without mark": Way(_encoded("utf-16-le"), settings={"encoding": "utf-16-le"}),
    "Latin-1": Way(_encoded("latin-1"), settings={"encoding": "latin-1"}),
    "cp1252": Way(_encoded("cp1252"), settings={"encoding": "cp1252"}),
    "gzip called .csv": Way(_packed(gzip.compress)),
    "gzip": Way(_packed(gzip.compress), ".csv.gz"),
    "gzip of several members": Way(
        lambda sheet: gzip.compress(text(sheet[:2]).encode()) + gzip.compress(text(sheet[2:]).encode()), ".csv.gz"
    ),
    "zstd": Way(_packed(_zstd), ".csv.zst"),
    "bzip2": Way(_packed(bz2.compress), ".csv.bz2"),
    "xz": Way(_packed(lzma.compress), ".csv.xz"),
    "as Excel saves it": Way(lambda sheet: text(sheet, delimiter=";", lineterminator="\r\n").encode("utf-8-sig")),
    "sep= line": Way(_before("sep=;\n", delimiter=";")),
    "sep= line of a rare separator": Way(_before("sep=^\r\n", delimiter="^", lineterminator="\r\n")),
    "comments": Way(_before("# exported at night\n#\n")),
    "header behind a #": Way(
        lambda sheet: text([["#" + sheet[0][0], *sheet[0][1:]], *sheet[1:]], quoting=csv.QUOTE_MINIMAL).encode()
    ),
    "blanks around names": Way(lambda sheet: text([[f" {name} " for name in sheet[0]], *sheet[1:]]).encode()),
    "a blank after each separator": Way(_blank_after_separator),
    "a separator at the end of each row": Way(lambda sheet: text([sheet[0], *([*row, ""] for row in sheet[1:])]).encode()),
    "a line break in the header": Way(_broken_header),
    "JSON lines": Way(_json_lines, ".jsonl"),
    "JSON lines called .ndjson.gz": Way(lambda sheet: gzip.compress(_json_lines(sheet)), ".ndjson.gz"),
    "JSON lines called .txt": Way(_json_lines, ".txt"),
    "JSON array": Way(lambda sheet: json.dumps(_objects(sheet), indent=1).encode(), ".json"),
}
"""Every way to write a table that must read as the plain one does."""


def bare(*cells: str) -> bytes:
    return ",".join(cells).encode()


BROKEN: Final[dict[str, tuple[Callable[[list[str]], bytes], str]]] = {
    "inch mark in a quoted field": (lambda row: bare(*row[:-1], '"TV 32" black"'), reading.UNBALANCED),
    "mark that is not closed": (lambda row: bare('"15 laptop', *row[1:]), reading.UNBALANCED),
    "something behind the closing mark": (lambda row: bare(*row[:-1], '"a" b'), reading.UNBALANCED),
    "one field too many": (lambda row: bare(*row, "x"), reading.TOO_MANY_FIELDS),
    "nothing": (lambda row: b"", reading.EMPTY_ROW),
    "separators alone": (lambda row: bare(*("" for _ in row)), reading.EMPTY_ROW),
    "NUL": (lambda row: bare(*row[:-1], "a\0b"), reading.NUL_BYTES),
    "not UTF-8": (lambda row: bare(*row) + b"\xe9", reading.NOT_UTF_8),
}
"""A row that nobody can read, made of a sound one, and the reason under which it is quarantined, alone."""
