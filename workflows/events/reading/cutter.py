"""Cuts a stream of bytes into records, and records into columns."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from workflows.events.reading import records
from workflows.events.reading.dialect import Dialect
from workflows.events.reading.records import CR, LF, Grammar

LONGEST_RECORD: Final = 1 << 20
"""Bytes of the longest record with a quoted field; in a longer one a quotation mark is taken for not closed."""

_NOT_ASCII: Final = 0x80
_FIRST_OF_SEVERAL: Final = 0xC0
_LEARNT_FROM: Final = 2_000
_LEAST_TEACHERS: Final = 3


@dataclasses.dataclass(frozen=True)
class Records:
    """Records of one buffer."""

    buffer: npt.NDArray[np.uint8]
    """The bytes ``[B]``."""
    starts: npt.NDArray[np.int64]
    """Where each record begins ``[R]``."""
    ends: npt.NDArray[np.int64]
    """Where it ends, without the line end ``[R]``."""
    fields: npt.NDArray[np.int32]
    """How many fields it has ``[R]``."""
    marks: npt.NDArray[np.uint8]
    """What is peculiar about it ``[R]``, marks of ``workflows.events.reading.records``."""

    def __len__(self) -> int:
        """Return how many records there are."""
        return len(self.starts)

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """Return the records of all ``parts``, in order."""
        if len(parts) == 1:
            return parts[0]
        shifts = np.cumsum([0, *(len(part.buffer) for part in parts[:-1])])
        buffer = np.concatenate([part.buffer for part in parts])
        buffer.setflags(write=False)
        return cls(
            buffer,
            np.concatenate([part.starts + shift for part, shift in zip(parts, shifts, strict=True)]),
            np.concatenate([part.ends + shift for part, shift in zip(parts, shifts, strict=True)]),
            np.concatenate([part.fields for part in parts]),
            np.concatenate([part.marks for part in parts]),
        )

    @functools.cached_property
    def is_ascii(self) -> bool:
        """Whether the buffer holds nothing but ASCII."""
        return self.buffer.tobytes().isascii()

    def not_utf8(self) -> npt.NDArray[np.bool_] | None:
        """Return which records are not UTF-8 ``[R]``; None where all are."""
        if self.is_ascii:
            return None
        content = self.buffer.tobytes()
        if _is_utf8(content):
            return None
        damaged = np.zeros(len(self), np.bool_)
        for record in np.flatnonzero(self.with_other_than_ascii()):
            damaged[record] = not _is_utf8(content[self.starts[record] : self.ends[record]])
        return damaged if damaged.any() else None

    def with_other_than_ascii(self) -> npt.NDArray[np.bool_]:
        """Return which records hold anything but ASCII ``[R]``."""
        holds = np.zeros(len(self), np.bool_)
        places = np.flatnonzero(self.buffer >= _NOT_ASCII)
        records = np.searchsorted(self.starts, places, side="right") - 1
        holds[records[(records >= 0) & (records < len(self))]] = True
        return holds

    def columns(self, names: Sequence[str], left_out: npt.NDArray[np.bool_], grammar: Grammar) -> list[pl.Series]:
        """Return the fields as String columns, null where nothing stands; the records ``left_out`` are null throughout.

        All fields that are not left out must be UTF-8.
        """
        import pyarrow as pa

        content = np.empty(int((self.ends - self.starts).sum()), np.uint8)
        begins = np.zeros((len(names), len(self)), np.int64)
        sizes = np.empty((len(names), len(self)), np.int64)
        records.cut_fields(self.buffer, self.starts, self.ends, left_out, grammar, content, begins, sizes)
        columns = []
        for number, name in enumerate(names):
            offsets = np.empty(len(self) + 1, np.int64)
            out = np.empty(int(np.maximum(sizes[number], 0).sum()), np.uint8)
            records.gather(content, begins[number], sizes[number], offsets, out)
            missing = np.packbits(sizes[number] >= 0, bitorder="little")
            buffers = [pa.py_buffer(missing), pa.py_buffer(offsets), pa.py_buffer(out)]
            text = pa.Array.from_buffers(pa.large_string(), len(self), buffers)
            columns.append(pl.Series(name, pl.from_arrow(text), dtype=pl.String))
        return columns


class Cutter:
    """Cuts pieces of a stream, fed in order, into records; what touches the end of a piece waits for the next one."""

    def __init__(self, grammar: Grammar, columns: int) -> None:
        self.grammar = grammar
        self._skeletons = np.zeros((columns, records.WIDTH), np.uint8)
        self._lengths = np.full(columns, -1, np.int64)
        self._has_learnt = columns == 0
        self._rest = np.empty(0, np.uint8)
        self._broken_until = 0

    def again(self) -> Cutter:
        """Return a cutter for the same stream from its start that has learnt what this one has."""
        other = copy.copy(self)
        other._rest, other._broken_until = np.empty(0, np.uint8), 0
        return other

    def branch(self, grammar: Grammar) -> Cutter:
        """Return a cutter that goes on from here by another grammar."""
        other = copy.copy(self)
        other.grammar = grammar
        return other

    def feed(self, piece: bytes, *, is_last: bool) -> Records:
        """Return the records that ``piece`` completes."""
        buffer = np.frombuffer(piece, np.uint8)
        if len(self._rest):
            buffer = np.concatenate([self._rest, buffer])
            buffer.setflags(write=False)  # as what frombuffer returns, so that the loops are compiled for one type
        if not self._has_learnt:
            self._learn(buffer, is_last=is_last)
        found, at, broken_until = self._find(buffer, is_last=is_last)
        self._rest = buffer[at:]
        self._broken_until = max(0, broken_until - at)
        return found

    def skim(self, piece: bytes) -> tuple[int, int] | None:
        """Count the records that ``piece``, which is not the last, completes, if none of them needs care and all are UTF-8.

        Returns:
            How many there are, and how many characters but ASCII they hold; None, and nothing is done, where some need care.
        """
        if self._broken_until or not self._has_learnt or len(self.grammar.separator) > 1 or self.grammar.skips_blanks:
            return None
        content = self._rest.tobytes() + piece
        buffer = np.frombuffer(content, np.uint8)
        count, at = records.skim(buffer, len(self._lengths), self.grammar)
        if count < 0:
            return None
        characters = 0
        if not content.isascii():
            if not _is_utf8(content[:at]):
                return None
            characters = int(np.count_nonzero(buffer[:at] >= _FIRST_OF_SEVERAL))
        self._rest = buffer[at:]
        return int(count), characters

    def _find(self, buffer: npt.NDArray[np.uint8], *, is_last: bool) -> tuple[Records, int, int]:
        most = int(np.count_nonzero(buffer == LF)) + int(np.count_nonzero(buffer == CR)) + 1
        starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
        counts, marks = np.empty(most, np.int32), np.empty(most, np.uint8)
        found, at, broken_until = records.find_records(
            buffer,
            0,
            is_last,
            LONGEST_RECORD,
            self._broken_until,
            self.grammar,
            self._skeletons,
            self._lengths,
            starts,
            ends,
            counts,
            marks,
        )
        return Records(buffer, starts[:found], ends[:found], counts[:found], marks[:found]), int(at), int(broken_until)

    def _learn(self, buffer: npt.NDArray[np.uint8], *, is_last: bool) -> None:
        self._skeletons, self._lengths = self._skeletons.copy(), self._lengths.copy()
        found, _, _ = self._find(buffer[: LONGEST_RECORD // 4], is_last=is_last)
        few = slice(0, _LEARNT_FROM)
        records.learn_skeletons(
            buffer,
            found.starts[few],
            found.ends[few],
            found.marks[few],
            self.grammar,
            _LEAST_TEACHERS,
            self._skeletons,
            self._lengths,
        )
        self._has_learnt = True


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def grammar_of(dialect: Dialect) -> Grammar:
    """Return ``dialect`` as compiled code takes it."""
    separator = np.frombuffer(dialect.separator.encode(), np.uint8)
    quote, escape = (ord(mark) if mark else -1 for mark in (dialect.quote, dialect.escape))
    return Grammar(separator, quote, -1 if escape == quote else escape, dialect.escapes_bare, dialect.skips_blanks)


def first_records(content: bytes, grammar: Grammar, most: int) -> list[bytes]:
    """Return the first records of ``content`` that are whole, as they stand, with their line ends."""
    found = Cutter(grammar, 0).feed(content, is_last=True)
    following: list[Any] = [*found.starts[1:].tolist(), len(content)]
    return [content[start:end] for start, end in zip(found.starts.tolist()[:most], following[:most], strict=True)]


def split(record: bytes, grammar: Grammar) -> list[str]:
    """Return the fields of one record, which is UTF-8; a missing one is empty."""
    found = Cutter(grammar, 0).feed(record, is_last=True)
    if not len(found):
        return []
    columns = int(found.fields[0])
    content = np.empty(len(record), np.uint8)
    begins, sizes = np.zeros((columns, len(found)), np.int64), np.empty((columns, len(found)), np.int64)
    records.cut_fields(found.buffer, found.starts, found.ends, np.zeros(len(found), np.bool_), grammar, content, begins, sizes)
    text = content.tobytes()
    places = zip(begins[:, 0].tolist(), sizes[:, 0].tolist(), strict=True)
    return [text[begin : begin + max(0, size)].decode() for begin, size in places]
