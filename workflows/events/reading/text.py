"""A text file as a stream of pieces in UTF-8."""

from __future__ import annotations

import codecs
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cartwheel.core.errors import DataError
from workflows.events.reading import opening
from workflows.events.reading.dialect import Layout

UTF_8: Final = "utf-8"

_HEAD: Final = 1 << 16
_KEPT: Final = 1 << 12
_SHARE_OF_NULS: Final = 0.2


@dataclasses.dataclass(frozen=True)
class Text:
    """A text file, and how its bytes are decoded."""

    path: Path
    """Where it lies."""
    encoding: str
    """The codec."""
    compression: str
    """How it is compressed."""
    mark: int
    """Length of its byte order mark."""
    is_asked: bool
    """Whether the encoding is laid down, or named by the byte order mark, rather than presumed."""
    content: bytes | None = None
    """All of it, where it is small."""
    note: str = ""
    """What is odd about its encoding, a clause."""

    def pieces(self) -> Iterator[bytes]:
        """Yield its content in UTF-8; a file that claims to be UTF-8 comes as it is, sound or not.

        Raises:
            DataError: it cannot be read, or decoded.
        """
        raw = iter([self.content]) if self.content is not None else opening.raw_pieces(self.path, self.compression)
        first = next(raw, b"")[self.mark :]
        if self.encoding == UTF_8:
            yield first
            yield from raw
        else:
            yield from self._decoded(first, raw)

    def _decoded(self, first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        lines = 1
        for piece, is_last in opening.last_marked(_chain(first, others)):
            try:
                text = decoder.decode(piece, is_last)
                encoded = text.encode()
            except UnicodeError as error:
                raise self._undecodable(error, lines, piece) from error
            lines += text.count("\n")
            yield encoded

    def _undecodable(self, error: UnicodeError, lines: int, piece: bytes) -> DataError:
        if isinstance(error, UnicodeDecodeError):
            lines += error.object[: error.start].count(b"\n")
            what = f"the byte 0x{error.object[error.start]:02X}" if error.object else f"the end after {len(piece)} bytes"
        else:
            what = "half of a surrogate pair"
        return DataError(
            f"{self.path}: line {lines} holds {what}, which {self.encoding} does not know.",
            "Set source.encoding to the encoding of the file, or export it in UTF-8.",
        )


def _chain(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def open_text(path: Path, layout: Layout) -> Text:
    """Find out how the bytes of a file become text, as far as its first bytes tell; UTF-8 is presumed where nothing else is known.

    Raises:
        DataError: it cannot be read, or looks like UTF-16 without a byte order mark.
    """
    compression = opening.compression_of(path)
    if not compression and path.name.lower().endswith(opening.PACKED_SUFFIXES):
        raise DataError(
            f"{path}: the file is corrupt or cannot be read (by its name it is compressed, by its first bytes it is not).",
            "Rename it, or download it again.",
        )
    head = next(opening.raw_pieces(path, compression, _HEAD), b"")
    if compression and opening.magic_of(head):
        raise DataError(
            f"{path}: the file is packed twice, as {opening.magic_of(head)} within {compression}.",
            "Unpack it once.",
        )
    named, mark = opening.byte_order_mark(head)
    encoding = named or layout.encoding or UTF_8
    begin = head[: 1 << 12].rstrip(b"\0")  # where room was made for more than was written, the rest is NUL
    if not named and layout.encoding is None and begin.count(0) > _SHARE_OF_NULS * len(begin):
        little = head[1::2].count(0) > head[::2].count(0)
        raise DataError(
            f"{path}: the file looks like UTF-16, but has no byte order mark.",
            f"Set source.encoding, most likely to '{'utf-16-le' if little else 'utf-16-be'}', or export it in UTF-8.",
        )
    return Text(
        path=path,
        encoding=encoding,
        compression=compression,
        mark=mark,
        is_asked=bool(named or layout.encoding),
        content=head if len(head) <= _KEPT else None,
        note=""
        if named or not _is_utf8_after_all(head, encoding)
        else f"although it is UTF-8 as well, which {encoding} text hardly is",
    )


def _is_utf8_after_all(head: bytes, encoding: str) -> bool:
    """Return whether text that is laid down to be of an encoding of one byte a character holds characters of several bytes alone."""
    if head.isascii() or codecs.lookup(encoding).name.startswith("utf"):
        return False
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(head)
    except UnicodeDecodeError:
        return False
    return True
