"""Compiled loops that cut bytes into records and records into fields, strictly, a broken record costing no other.

The grammar is that of RFC 4180 with a separator, a quotation mark and an escape of one's choice. A field is quoted where it begins
with the mark; in a quoted field the mark stands doubled or escaped, and what follows the closing mark is a separator or the end of the
record. In any other field marks are ordinary characters. Line feed, carriage return and both together end a record. What breaks the
grammar costs one line: reading goes on with the next.

Two lines that each lack a mark, ``u1,"15 laptop,view,2024-01-01`` and further on ``u2,27",view,2024-01-02``, are together one sound
record to any grammar. Each of them has as many fields as there are columns, though, and a date where the file has dates: no text with
line breaks looks so. What fields look like is their skeleton, in which each run of digits is a 0 and each run of letters an a.

All loops are in one file, for what an earlier process compiled is compiled anew only where the file of the loop itself has changed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from cartwheel.core.compiled_loops import compiled

LF: Final = 10
CR: Final = 13
BLANK: Final = 32
DOUBLE: Final = 34
SINGLE: Final = 39


class Grammar(NamedTuple):
    """How bytes become records, as compiled code takes it."""

    separator: Any
    """uint8 ``[S]``: the bytes between fields."""
    quote: int
    """What fields may stand in, -1 for none."""
    escape: int
    """What takes the meaning from the byte after it, -1 for none."""
    bare: bool
    """Whether the escape works outside of quoted fields too, and before separators and line ends."""
    skips_blanks: bool
    """Whether blanks after a separator belong to it."""


_loop = compiled(nogil=True)


@_loop
def is_line_end(byte: int) -> bool:
    """Return whether the byte is a line feed or a carriage return."""
    is_feed = byte == LF
    return is_feed or byte == CR


@_loop
def is_separator(buffer: Any, at: int, size: int, separator: Any) -> bool:
    """Return whether the separator stands at ``at``."""
    if buffer[at] != separator[0] or at + len(separator) > size:
        return False
    for offset in range(1, len(separator)):  # noqa: SIM110 - this is compiled
        if buffer[at + offset] != separator[offset]:
            return False
    return True


@_loop
def is_escaped(following: int, grammar: Grammar) -> bool:
    """Return whether the escape before ``following`` takes its meaning away; before anything else it is an ordinary character."""
    if following == grammar.quote or following == grammar.escape:
        return True
    if not grammar.bare:
        return False
    # Python's csv escapes the mark that it would quote with even where it quotes nothing.
    is_double = following == DOUBLE
    return is_double or following == SINGLE or following == grammar.separator[0] or is_line_end(following)


@_loop
def skip_blanks(buffer: Any, at: int, size: int, grammar: Grammar) -> int:
    """Return the first place from ``at`` on that holds no blank, where blanks are to be skipped."""
    while grammar.skips_blanks and at < size and buffer[at] == BLANK:
        at += 1
    return at


@_loop
def end_of_line(buffer: Any, at: int, size: int) -> Any:
    """Return where the line ends and where the next one begins, which is -1 where the buffer does not tell."""
    while at < size and not is_line_end(buffer[at]):
        at += 1
    if at + 1 >= size:
        return at, -1 if at >= size or buffer[at] == CR else at + 1
    return at, at + (2 if buffer[at] == CR and buffer[at + 1] == LF else 1)


WIDTH: Final = 32
"""Bytes of the longest skeleton; what is longer has none."""

_ZERO: Final = 48
_NINE: Final = 57
_LETTER: Final = 97
_LAST_LETTER: Final = 122
_CASE: Final = 32
_NOT_ASCII: Final = 128
_NONE: Final = -1
_UNKNOWN: Final = -2


@_loop
def _kind_of(byte: int) -> int:
    if _ZERO <= byte <= _NINE:
        return _ZERO
    if byte >= _NOT_ASCII or _LETTER <= (byte | _CASE) <= _LAST_LETTER:
        return _LETTER
    return byte


@_loop
def skeleton(buffer: Any, begin: int, end: int, quote: int, out: Any) -> int:
    """Write what is left of a field when each run of digits is a 0 and each of letters an a; return its length, -1 if too long."""
    if begin < end and buffer[begin] == quote:
        begin += 1
    if begin < end and buffer[end - 1] == quote:
        end -= 1
    length, last = 0, 0
    for at in range(begin, end):
        kind = _kind_of(buffer[at])
        if kind == last and (kind == _ZERO or kind == _LETTER):  # noqa: SIM109 - compiled code has no such container
            continue
        if length == len(out):
            return _NONE
        out[length] = kind
        last = kind
        length += 1
    return length


@_loop
def _fits(found: Any, length: int, skeletons: Any, lengths: Any, column: int) -> bool:
    if length != lengths[column]:
        return False
    for at in range(length):  # noqa: SIM110 - this is compiled
        if found[at] != skeletons[column, at]:
            return False
    return True


@_loop
def _next_separator(buffer: Any, at: int, end: int, separator: Any) -> int:
    while at < end and not is_separator(buffer, at, end, separator):
        at += 1
    return at


@_loop
def _compare_line(buffer: Any, begin: int, end: int, grammar: Grammar, skeletons: Any, lengths: Any, opens: bool) -> Any:
    """Compare a line, its quotation marks being ordinary characters, with the rows of the file.

    The field with the mark in question begins with it and does not end with one where the line ``opens`` a quoted field, else the other
    way round. Fields before an opening mark are those of a row in any case, and so are those after a closing one: only the others count.

    Returns:
        How many of them look as their column does, and how many do not; -1 where there are not as many fields as columns.
    """
    columns, number, matches, misfits, has_mark, at = len(lengths), 0, 0, 0, False, begin
    found = np.empty(WIDTH, np.uint8)
    while number < columns:
        place = _next_separator(buffer, at, end, grammar.separator)
        first, last = place > at and buffer[at] == grammar.quote, place > at and buffer[place - 1] == grammar.quote
        is_odd = (first and not last) if opens else (last and not first)
        if is_odd and opens:
            matches, misfits = 0, 0
        elif not is_odd and (opens or not has_mark) and lengths[number] >= 0 and place > at:
            fits = _fits(found, skeleton(buffer, at, place, grammar.quote, found), skeletons, lengths, number)
            matches, misfits = matches + fits, misfits + (not fits)
        has_mark = has_mark or is_odd
        number += 1
        at = place + len(grammar.separator)
        if place >= end:
            break
    return (matches, misfits) if number == columns and at > end else (-1, -1)


@_loop
def hides_rows(buffer: Any, begin: int, end: int, grammar: Grammar, skeletons: Any, lengths: Any) -> bool:
    """Return whether a record of several lines rather is several rows, of which the first and the last lack a quotation mark."""
    if len(lengths) == 0:
        return False
    first, _ = end_of_line(buffer, begin, end)
    last = end
    while last > begin and not is_line_end(buffer[last - 1]):
        last -= 1
    matches, misfits = _compare_line(buffer, begin, first, grammar, skeletons, lengths, True)
    more, worse = _compare_line(buffer, last, end, grammar, skeletons, lengths, False)
    if matches < 0 or more < 0:
        return False
    return bool(matches + more > misfits + worse or lengths.max() < 0)


@_loop
def learn_skeletons(
    buffer: Any, starts: Any, ends: Any, marks: Any, grammar: Grammar, least: int, skeletons: Any, lengths: Any
) -> None:
    """Find the skeleton of each column that always looks the same.

    Args:
        buffer: uint8 ``[B]``.
        starts: int64 ``[R]``, where each record begins.
        ends: int64 ``[R]``, where it ends.
        marks: uint8 ``[R]``; records with a mark teach nothing.
        grammar: how they are written.
        least: how many records must show the skeleton.
        skeletons: uint8 ``[columns, WIDTH]``, to be filled.
        lengths: int64 ``[columns]``, to be filled: the length of each skeleton, -1 where there is none.
    """
    columns = len(lengths)
    seen = np.zeros(columns, np.int64)
    found = np.empty(WIDTH, np.uint8)
    lengths[:] = _UNKNOWN
    for record in range(len(starts)):
        at, end, number = starts[record], ends[record], 0
        while marks[record] == 0 and number < columns and at <= end:
            place = _next_separator(buffer, at, end, grammar.separator)
            if place > at and lengths[number] != _NONE:
                length = skeleton(buffer, at, place, grammar.quote, found)
                if lengths[number] == _UNKNOWN:
                    lengths[number] = length
                    skeletons[number] = found
                elif not _fits(found, length, skeletons, lengths, number):
                    lengths[number] = _NONE
                seen[number] += 1
            number += 1
            at = place + len(grammar.separator)
    for column in range(columns):
        if seen[column] < least or lengths[column] <= 0:
            lengths[column] = _NONE


REWRITTEN: Final = 1
"""A sound record that holds what other readers take otherwise: an escape, a stray mark, a line break, a lone carriage return."""
BROKEN: Final = 2
"""A quotation mark is not closed, or something stands behind the closing one."""
SURPLUS: Final = 4
"""There is content behind the last column."""
NUL: Final = 8
"""The record holds a NUL byte."""
EMPTY: Final = 16
"""The record is a line without any character."""
UNENDED: Final = 32
"""The end of the input, not of a line, ends the record."""

_SEVERAL_LINES: Final = 64
_OPEN: Final = 128
_TO_KEEP: Final = 63


@_loop
def end_of_quoted(buffer: Any, at: int, size: int, limit: int, grammar: Grammar) -> Any:
    """Return where the quoted field that begins before ``at`` ends, and its marks."""
    marks = 0
    while at < size and at <= limit:
        byte = buffer[at]
        if byte == grammar.escape:
            if at + 1 < size and is_escaped(buffer[at + 1], grammar):
                marks |= REWRITTEN | (_SEVERAL_LINES if is_line_end(buffer[at + 1]) else 0)
                at += 1
        elif byte == grammar.quote:
            if at + 1 >= size or buffer[at + 1] != grammar.quote:
                return at + 1, marks
            at += 1
        elif is_line_end(byte):
            marks |= REWRITTEN | _SEVERAL_LINES
        elif byte == 0:
            marks |= NUL
        at += 1
    return at, marks | (_OPEN if at >= size else BROKEN)


@_loop
def end_of_bare(buffer: Any, at: int, size: int, grammar: Grammar) -> Any:
    """Return where the unquoted field that begins at ``at`` ends, and its marks."""
    marks = 0
    while at < size:
        byte = buffer[at]
        if is_line_end(byte) or is_separator(buffer, at, size, grammar.separator):
            break
        if byte == grammar.quote:
            marks |= REWRITTEN
        elif byte == 0:
            marks |= NUL
        elif grammar.bare and byte == grammar.escape and at + 1 < size and is_escaped(buffer[at + 1], grammar):
            marks |= REWRITTEN
            at += 1
        at += 1
    return at, marks


@_loop
def _end_of_field(buffer: Any, at: int, size: int, limit: int, grammar: Grammar) -> Any:
    """Return where the field at ``at`` ends, its marks, and whether there is anything in it."""
    begin = skip_blanks(buffer, at, size, grammar)
    if grammar.quote >= 0 and begin < size and buffer[begin] == grammar.quote:
        end, marks = end_of_quoted(buffer, begin + 1, size, limit, grammar)
        marks |= REWRITTEN if end == begin + 2 else 0  # to other readers an empty field in quotes is not missing
        if grammar.skips_blanks:
            marks |= REWRITTEN
            end = skip_blanks(buffer, end, size, grammar)
        return end, marks, True
    end, marks = end_of_bare(buffer, begin, size, grammar)
    return end, marks, end > begin


@_loop
def _read_record(buffer: Any, at: int, size: int, limit: int, columns: int, grammar: Grammar) -> Any:
    """Return where the record at ``at`` ends, where the next one begins, its number of fields and its marks."""
    fields, marks, limit = 0, 0, at + limit
    while True:
        at, found, has_content = _end_of_field(buffer, at, size, limit, grammar)
        fields += 1
        marks |= found | (SURPLUS if has_content and fields > columns else 0)
        if marks & (_OPEN | BROKEN):
            return at, at, fields, marks
        if at >= size:
            return at, at, fields, marks | UNENDED
        if is_line_end(buffer[at]):
            _, following = end_of_line(buffer, at, size)
            if following < 0:
                return at, at + 1, fields, marks | UNENDED
            return at, following, fields, marks | (REWRITTEN if buffer[at] == CR and following == at + 1 else 0)
        if not is_separator(buffer, at, size, grammar.separator):
            return at, at, fields, marks | BROKEN
        at += len(grammar.separator)


@_loop
def find_records(
    buffer: Any,
    at: int,
    is_last: bool,
    limit: int,
    broken_until: int,
    grammar: Grammar,
    skeletons: Any,
    lengths: Any,
    starts: Any,
    ends: Any,
    fields: Any,
    marks: Any,
) -> Any:
    """Cut a buffer into records.

    Args:
        buffer: uint8 ``[B]``.
        at: where the first record begins.
        is_last: whether nothing follows; else a record that touches the end is left for the next buffer.
        limit: the most bytes that a record with a quoted field may have; with more it is broken.
        broken_until: lines before this offset that have not as many fields as there are columns belong to a broken record.
        grammar: how they are written.
        skeletons: uint8 ``[columns, WIDTH]``, as of ``learn_skeletons``.
        lengths: int64 ``[columns]``, likewise.
        starts: int64 ``[R]``, to be filled: where each record begins.
        ends: int64 ``[R]``, to be filled: where it ends, without the line end.
        fields: int32 ``[R]``, to be filled: how many fields it has.
        marks: uint8 ``[R]``, to be filled with what is peculiar about it.

    Returns:
        How many records were found, where the next one begins, and the new ``broken_until``.
    """
    count, columns, size = 0, len(lengths), len(buffer)
    while at < size and count < len(starts):
        end, following, number, mark = _read_record(buffer, at, size, limit, columns, grammar)
        if mark & (_OPEN | UNENDED) and not is_last:
            break
        if mark & _SEVERAL_LINES and not mark & (_OPEN | BROKEN) and hides_rows(buffer, at, end, grammar, skeletons, lengths):
            mark |= BROKEN
        if mark & (_OPEN | BROKEN):
            broken_until = max(broken_until, end)
            end, following = end_of_line(buffer, at, size)
            if following < 0 and not is_last:
                break
            following = size if following < 0 else following
            mark = BROKEN
        elif at < broken_until and number != columns:
            mark |= BROKEN
        if end == at:
            mark |= EMPTY
        starts[count], ends[count], fields[count], marks[count] = at, end, number, mark & _TO_KEEP
        count += 1
        at = following
    return count, at, broken_until


@_loop
def _unescape(buffer: Any, at: int, end: int, doubled: int, escape: int, grammar: Grammar, content: Any, out: int) -> int:
    """Write a field without what protects its characters; return where ``content`` goes on."""
    while at < end:
        byte = buffer[at]
        if byte == doubled or (byte == escape and at + 1 < end and is_escaped(buffer[at + 1], grammar)):
            at += 1
            byte = buffer[at]
        content[out] = byte
        out += 1
        at += 1
    return out


@_loop
def _write_field(buffer: Any, at: int, size: int, grammar: Grammar, content: Any, out: int) -> Any:
    """Write the field at ``at``; return where it ends, and where ``content`` goes on."""
    at = skip_blanks(buffer, at, size, grammar)
    if grammar.quote >= 0 and at < size and buffer[at] == grammar.quote:
        end, _ = end_of_quoted(buffer, at + 1, size, size, grammar)
        out = _unescape(buffer, at + 1, end - 1, grammar.quote, grammar.escape, grammar, content, out)
        return skip_blanks(buffer, end, size, grammar), out
    end, _ = end_of_bare(buffer, at, size, grammar)
    return end, _unescape(buffer, at, end, -1, grammar.escape if grammar.bare else -1, grammar, content, out)


@_loop
def skim(buffer: Any, columns: int, grammar: Grammar) -> Any:
    """Count records that need no care: none holds a quotation mark, an escape or NUL, is empty or has content behind the last column.

    Args:
        buffer: uint8 ``[B]``.
        columns: how many columns there are.
        grammar: how they are written; the separator is one byte.

    Returns:
        How many records are whole, and where the next one begins; -1 instead of the first where any needs care.
    """
    count, start, fields, separator, escape = 0, 0, 1, grammar.separator[0], grammar.escape if grammar.bare else -1
    for at in range(len(buffer)):
        byte = buffer[at]
        if byte == separator:
            fields += 1
        elif byte == LF:
            end = at - 1 if at > start and buffer[at - 1] == CR else at
            if end == start or fields > columns:
                return -1, start
            count, start, fields = count + 1, at + 1, 1
        elif (
            byte == grammar.quote or byte == 0 or byte == escape or (byte == CR and at + 1 < len(buffer) and buffer[at + 1] != LF)
        ):
            return -1, start
    return count, start


@_loop
def cut_fields(
    buffer: Any, starts: Any, ends: Any, left_out: Any, grammar: Grammar, content: Any, begins: Any, sizes: Any
) -> None:
    """Write what the fields of records mean.

    Args:
        buffer: uint8 ``[B]``.
        starts: int64 ``[R]``, where each record begins.
        ends: int64 ``[R]``, where it ends.
        left_out: bool ``[R]``, the records whose fields are all missing.
        grammar: how they are written.
        content: uint8, at least as long as the records together, to be filled.
        begins: int64 ``[columns, R]``, to be filled: where in ``content`` the field is.
        sizes: int64 ``[columns, R]``, to be filled: its length, -1 where it is missing: nothing stands there, or nothing in quotes.
    """
    columns, out = len(begins), 0
    sizes[:] = -1
    for record in range(len(starts)):
        at, size, column = starts[record], ends[record], 0
        while not left_out[record] and column < columns and at <= size:
            begins[column, record] = out
            at, after = _write_field(buffer, at, size, grammar, content, out)
            if after > out:
                sizes[column, record] = after - out
            out = after
            at += len(grammar.separator)
            column += 1


@_loop
def gather(content: Any, begins: Any, sizes: Any, offsets: Any, out: Any) -> None:
    """Write one column's fields behind each other.

    Args:
        content: as ``cut_fields`` filled it.
        begins: int64 ``[R]``, likewise, of one column.
        sizes: int64 ``[R]``, likewise.
        offsets: int64 ``[R + 1]``, to be filled: where each field begins in ``out``.
        out: uint8, as long as the fields together, to be filled.
    """
    at = 0
    for record in range(len(begins)):
        offsets[record] = at
        for offset in range(sizes[record]):
            out[at] = content[begins[record] + offset]
            at += 1
    offsets[len(begins)] = at
