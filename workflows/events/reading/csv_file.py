"""A CSV file that has been looked through once: its dialect, how many records it has, and what is wrong with which."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import DataError
from workflows.events.reading import records as peculiar
from workflows.events.reading.cutter import Cutter, Records, grammar_of
from workflows.events.reading.dialect import Dialect, Layout
from workflows.events.reading.encoding import UndecidedError, certain_encoding, readings
from workflows.events.reading.opening import last_marked
from workflows.events.reading.sniff import sniff
from workflows.events.reading.text import UTF_8, Text

TOO_MANY_FIELDS: Final = "too many fields"
EMPTY_ROW: Final = "empty row"
CUT_OFF: Final = "cut off"
UNBALANCED: Final = "quotation marks do not match"
NUL_BYTES: Final = "NUL bytes"
NOT_UTF_8: Final = "not UTF-8"
FLAWS: Final = (UNBALANCED, NUL_BYTES, NOT_UTF_8, TOO_MANY_FIELDS, EMPTY_ROW, CUT_OFF)
"""Everything that can be wrong with a record as a whole; the first that applies is the reason."""

_ESCAPE: Final = "\\"
_SAMPLE: Final = 1 << 16
_SOUND_FOR_EACH_DAMAGED: Final = 10


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some records of one file, and what is wrong with them."""

    records: Records
    flaws: npt.NDArray[np.uint8]
    """0 where nothing is, else the place in ``FLAWS``, from 1 ``[R]``."""

    @property
    def left_out(self) -> npt.NDArray[np.bool_]:
        """The records whose fields cannot be told ``[R]``."""
        unreadable = 1 + FLAWS.index(NOT_UTF_8)
        return (self.flaws > 0) & (self.flaws <= unreadable)


@dataclasses.dataclass(frozen=True)
class CsvFile:
    """A CSV file of which everything is known but its cells."""

    text: Text
    dialect: Dialect
    names: tuple[str, ...]
    """The columns."""
    rows: int
    """How many records of data a strict reader counts."""
    flawed: int
    """How many of them are not sound as a whole."""
    is_plain: bool
    """Whether every record is one line that all readers take alike."""
    header_lines: int
    """How many lines the header has."""
    _begin: int
    _cutter: Cutter

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.text.path

    def batches(self) -> Iterator[Batch]:
        """Yield its records in order.

        Raises:
            DataError: it cannot be read any more.
        """
        cutter = self._cutter.again()
        for piece, is_last in _data_pieces(self.text, self._begin):
            found = cutter.feed(piece, is_last=is_last)
            if len(found):
                yield Batch(found, _flaws(found, len(self.names), _not_utf8(self.text, found)))


def inspect_csv(text: Text, layout: Layout) -> CsvFile:
    """Look through a CSV file.

    Args:
        text: the file.
        layout: what is laid down.

    Raises:
        DataError: it cannot be read, its encoding cannot be told, or its header is blank or names a column twice.
    """
    try:
        return _inspect(text, layout)
    except UndecidedError as undecided:
        encoding = certain_encoding(undecided.sample)
        if encoding:
            return _inspect(dataclasses.replace(text, encoding=encoding), layout)
        word, read = readings(undecided.sample)
        likely = next(iter(read), "cp1252")
        would = ", ".join(f"{meant!r} in {name}" for name, meant in read.items())
        place = f"row {undecided.row:,}" if undecided.row else "the header"
        raise DataError(
            f"{text.path}: {place} holds {word}, which is not UTF-8; it would be {would}.",
            f"Set source.encoding to the encoding of the file, most likely '{likely}'.",
        ) from None


def _inspect(text: Text, layout: Layout) -> CsvFile:
    head = sniff(next(text.pieces(), b""), text, layout)
    counts = {"": _Count(Cutter(grammar_of(head.dialect), len(head.names)))}
    escaped = dataclasses.replace(head.dialect, escape=_ESCAPE)
    looks_for_escape = layout.escape is None and bool(head.dialect.quote)
    for piece, is_last in _data_pieces(text, head.begin):
        if looks_for_escape and len(counts) == 1 and _escapes_quote(piece, head.dialect.quote):
            # Up to here both grammars read alike, so that the second need not begin again.
            counts[_ESCAPE] = counts[""].branch(Cutter.branch(counts[""].cutter, grammar_of(escaped)))
        for count in counts.values():
            count.feed(piece, text, len(head.names), is_last=is_last)
    is_escaped = _ESCAPE in counts and counts[_ESCAPE].unreadable < counts[""].unreadable
    count = counts[_ESCAPE if is_escaped else ""]
    return CsvFile(
        text=text,
        dialect=escaped if is_escaped else head.dialect,
        names=head.names,
        rows=count.rows,
        flawed=count.flawed,
        is_plain=count.is_plain,
        header_lines=head.lines,
        _begin=head.begin,
        _cutter=count.cutter,
    )


@dataclasses.dataclass
class _Count:
    """What was counted of a file so far, by one grammar."""

    cutter: Cutter
    rows: int = 0
    flawed: int = 0
    unreadable: int = 0
    """Records that the grammar cannot read, or finds too long."""
    is_plain: bool = True
    sound_beyond_ascii: int = 0

    def branch(self, cutter: Cutter) -> _Count:
        return dataclasses.replace(self, cutter=cutter)

    def feed(self, piece: bytes, text: Text, columns: int, *, is_last: bool) -> None:
        skimmed = None if is_last else self.cutter.skim(piece)
        if skimmed is None:
            self._add(self.cutter.feed(piece, is_last=is_last), text, columns)
        else:
            self.rows += skimmed[0]
            self.sound_beyond_ascii += skimmed[1]

    def _add(self, found: Records, text: Text, columns: int) -> None:
        damaged = _not_utf8(text, found)
        if damaged is not None and not text.is_asked:
            self._decide_encoding(found, damaged)
        elif not (text.is_asked or found.is_ascii) and self.sound_beyond_ascii < _SOUND_FOR_EACH_DAMAGED:
            self.sound_beyond_ascii += int(found.with_other_than_ascii().sum())
        flaws = _flaws(found, columns, damaged)
        self.rows += len(found)
        self.flawed += int(np.count_nonzero(flaws))
        self.unreadable += int(np.count_nonzero(found.marks & (peculiar.BROKEN | peculiar.SURPLUS)))
        self.is_plain = self.is_plain and damaged is None and not (found.marks & _NOT_PLAIN).any()

    def _decide_encoding(self, found: Records, damaged: npt.NDArray[np.bool_]) -> None:
        """Take the file for UTF-8 with damaged records where sound ones outnumber them by far, else for another encoding."""
        self.sound_beyond_ascii += int((found.with_other_than_ascii() & ~damaged).sum())
        if self.sound_beyond_ascii < _SOUND_FOR_EACH_DAMAGED * int(damaged.sum()):
            places = np.flatnonzero(damaged)
            lines = (found.buffer[found.starts[place] : found.ends[place]].tobytes() for place in places[:_SAMPLE])
            raise UndecidedError(b"\n".join(lines)[:_SAMPLE], self.rows + int(places[0]) + 1)


_NOT_PLAIN: Final = peculiar.REWRITTEN | peculiar.BROKEN | peculiar.NUL


def _data_pieces(text: Text, begin: int) -> Iterator[tuple[bytes, bool]]:
    left = begin
    for piece, is_last in last_marked(text.pieces()):
        yield piece[left:], is_last
        left = max(0, left - len(piece))


def _escapes_quote(piece: bytes, quote: str) -> bool:
    return (_ESCAPE + quote).encode() in piece


def _not_utf8(text: Text, found: Records) -> npt.NDArray[np.bool_] | None:
    return found.not_utf8() if text.encoding == UTF_8 and len(found) else None


def _flaws(found: Records, columns: int, damaged: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.uint8]:
    """Return what is wrong with each record: 0, or the place in ``FLAWS``, from 1."""
    marks = found.marks
    cut_off = ((marks & peculiar.UNENDED) != 0) & (found.fields < columns)
    applies = {
        CUT_OFF: cut_off,
        EMPTY_ROW: (marks & peculiar.EMPTY) != 0,
        TOO_MANY_FIELDS: (marks & peculiar.SURPLUS) != 0,
        NOT_UTF_8: damaged,
        NUL_BYTES: (marks & peculiar.NUL) != 0,
        UNBALANCED: (marks & peculiar.BROKEN) != 0,
    }
    flaws = np.zeros(len(found), np.uint8)
    for flaw, where in applies.items():
        if where is not None:
            flaws[where] = 1 + FLAWS.index(flaw)
    return flaws


def frame(batches: Sequence[Batch], names: Sequence[str], dialect: Dialect) -> tuple[pl.DataFrame, pl.Series]:
    """Return the cells of some records, all String and null where nothing stands, and the flaws of the records, null where sound."""
    found = Records.joined([batch.records for batch in batches])
    flaws = np.concatenate([batch.flaws for batch in batches])
    left_out = np.concatenate([batch.left_out for batch in batches])
    cells = pl.DataFrame(found.columns(names, left_out, grammar_of(dialect)))
    nothing = cells.select(pl.all_horizontal(pl.all().is_null()).alias("nothing"))["nothing"].to_numpy()
    flaws[(flaws == 0) & nothing] = 1 + FLAWS.index(EMPTY_ROW)
    reasons = pl.Series([None, *FLAWS], dtype=pl.String).gather(pl.Series(flaws))
    return cells, reasons
