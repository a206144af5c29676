"""Finds out the dialect of a CSV file from its first records."""

from __future__ import annotations

import collections
import dataclasses
import re
from typing import Final

from cartwheel.core.errors import DataError
from workflows.events.reading.cutter import Cutter, first_records, grammar_of, split
from workflows.events.reading.dialect import Dialect, Layout
from workflows.events.reading.encoding import UndecidedError
from workflows.events.reading.text import Text

SEPARATORS: Final = (",", ";", "\t", "|", "\x01")
"""What is tried where no separator is laid down."""

_SAMPLE: Final = 1 << 16
_RECORDS: Final = 20
_SEPARATOR_LINE: Final = re.compile(rb"^\"?sep=([^\r\n\"])\"?[ \t]*\Z", re.IGNORECASE)
_LOOKS_LIKE_DATA: Final = re.compile(
    r"\d{5,}|[-+]?\d+[.,]\d+|\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}(\s.*)?"
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)


@dataclasses.dataclass(frozen=True)
class Head:
    """What the beginning of a file tells."""

    dialect: Dialect
    names: tuple[str, ...]
    """The columns."""
    begin: int
    """Where the first record of data begins, in bytes of UTF-8."""
    lines: int = 0
    """How many lines the header has."""


def looks_like_data(names: tuple[str, ...]) -> bool:
    """Return whether a header rather is a record: it holds a time, a number with a fraction or of many digits, or a UUID."""
    return any(_LOOKS_LIKE_DATA.fullmatch(name) for name in names)


def sniff(head: bytes, text: Text, layout: Layout) -> Head:
    """Find out the dialect, except for the escape, which the whole of the file tells.

    Args:
        head: the first piece of the file, in UTF-8.
        text: the file.
        layout: what is laid down.

    Raises:
        DataError: the header is blank or names a column twice, or several separators fit equally well.
        UndecidedError: the first record is not UTF-8.
    """
    passed_over, begin, named = _preamble(head, has_header=layout.has_header)
    sample = head[begin : begin + _SAMPLE]
    quote = layout.quote if layout.quote is not None else _quote(sample)
    dialect = Dialect(
        "CSV",
        encoding=text.encoding,
        compression=text.compression,
        quote=quote,
        escape=layout.escape or "",
        escapes_bare=bool(layout.escape),
        has_header=layout.has_header,
        passed_over=passed_over,
    )
    separator = layout.separator or named or _separator(sample, dialect, text)
    dialect = dataclasses.replace(dialect, separator=separator)
    dialect = dataclasses.replace(dialect, skips_blanks=separator == " " or _skips_blanks(sample, dialect))
    records = first_records(head[begin:], grammar_of(dialect), 1)
    first = records[0] if records else b""
    fields = _split(first, dialect, sample)
    if not layout.has_header:
        return Head(dialect, layout.names or tuple(str(number + 1) for number in range(len(fields))), begin)
    names = _header([field.strip() for field in fields], text)
    return Head(dialect, names, begin + len(first), max(1, len(first.splitlines())))


def _split(first: bytes, dialect: Dialect, sample: bytes) -> list[str]:
    try:
        return split(first, grammar_of(dialect))
    except UnicodeDecodeError:
        raise UndecidedError(sample, 0 if dialect.has_header else 1) from None


def _preamble(head: bytes, *, has_header: bool) -> tuple[int, int, str]:
    """Return how many lines come before the table, where it begins, and the separator that a line ``sep=`` names."""
    passed_over, begin, separator = 0, 0, ""
    while begin < len(head):
        ends = [end for end in (head.find(b"\n", begin), head.find(b"\r", begin)) if end >= 0]
        end = min(ends, default=len(head))
        line = head[begin:end]
        following = end + (2 if head[end : end + 2] == b"\r\n" else 1)
        found = _SEPARATOR_LINE.match(line)
        if found and not passed_over:
            separator = found.group(1).decode("ascii", errors="ignore")
        elif not _is_comment(line, head[following:], has_header=has_header):
            break
        passed_over, begin = passed_over + 1, following
    return passed_over, begin, separator


def _is_comment(line: bytes, rest: bytes, *, has_header: bool) -> bool:
    """Return whether a line at the start that begins with # is a comment, not the header or, where there is none, a record."""
    if not line.startswith(b"#"):
        return False
    following = rest.lstrip(b"\r\n").split(b"\n", 1)[0].split(b"\r", 1)[0]
    counts = {separator: line.count(separator.encode()) for separator in SEPARATORS}
    is_alike = any(count and following.count(separator.encode()) == count for separator, count in counts.items())
    if not is_alike or following.startswith(b"#"):
        return True
    cells = re.split(r"[,;\t|\x01]", following.decode(errors="replace"))
    return has_header and not looks_like_data(tuple(cell.strip('"') for cell in cells))


def _quote(sample: bytes) -> str:
    line = sample.split(b"\n", 1)[0].strip()
    is_single = b'"' not in line and re.fullmatch(rb"'[^']*'([,;\t|]'[^']*')+", line) is not None
    return "'" if is_single else '"'


def _separator(sample: bytes, dialect: Dialect, text: Text) -> str:
    """Return the separator by which all first records have equally many fields; of several that by which they have most."""
    candidates = [separator for separator in SEPARATORS if separator.encode() in sample.split(b"\n", 1)[0]]
    if len(candidates) == 1:
        return candidates[0]
    counts: dict[str, tuple[bool, int]] = {}
    for separator in candidates:
        found = Cutter(grammar_of(dataclasses.replace(dialect, separator=separator)), 0).feed(sample, is_last=True)
        fields = found.fields[: min(_RECORDS, max(1, len(found) - 1 if len(sample) == _SAMPLE else len(found)))]
        if len(fields) and fields[0] > 1:
            counts[separator] = (bool((fields == fields[0]).all()), int(fields[0]))
    if not counts:
        return SEPARATORS[0]
    best = max(counts.values())
    fitting = [separator for separator, count in counts.items() if count == best]
    if len(fitting) > 1:
        raise DataError(
            f"{text.path}: the first records have {best[1]} fields by {' and by '.join(repr(mark) for mark in fitting)} alike.",
            "Set source.separator to the one that stands between fields.",
        )
    return fitting[0]


def _skips_blanks(sample: bytes, dialect: Dialect) -> bool:
    """Return whether a blank follows each separator of the first lines, quoted fields among them."""
    separator = dialect.separator.encode()
    lines = sample.splitlines()[:_RECORDS]
    together = b"\n".join(lines)
    if not dialect.quote or separator + b" " + dialect.quote.encode() not in together:
        return False
    return all(line.count(separator) == line.count(separator + b" ") for line in lines)


def _header(names: list[str], text: Text) -> tuple[str, ...]:
    names = [names[0].removeprefix("#").strip() or names[0], *names[1:]] if names else names
    if not any(names):
        raise DataError(f"{text.path}: the first line is blank, but column names were expected.", "Add a header line.")
    twice = sorted(name for name, count in collections.Counter(names).items() if name and count > 1)
    if twice and looks_like_data(tuple(names)):
        raise DataError(
            f"{text.path}: the first record looks like data ({', '.join(names[:4])}), not like names of columns.",
            "Set source.header = false if the file has no header.",
        )
    if twice:
        raise DataError(f"{text.path}: the header names the column '{twice[0]}' twice.", "Rename one of the two.")
    return tuple(name or f"unnamed_{number}" for number, name in enumerate(names, start=1))
