"""Opens text files: unpacks what is compressed, whatever the name says, and decodes what is not UTF-8, losslessly or not at all."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast

from workflows.events.reading.failures import STREAM_FAILURES, unreadable

PIECE: Final = 1 << 23
"""Bytes that are read at a time."""

PACKED_SUFFIXES: Final = (".gz", ".zst", ".zstd", ".bz2", ".xz")
"""How names of compressed files end."""

_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def compression_of(path: Path) -> str:
    """Return how the file is compressed by its first bytes: ``gzip``, ``zstd``, ``bzip2``, ``xz`` or nothing."""
    with path.open("rb") as stream:
        return magic_of(stream.read(8))


def magic_of(head: bytes) -> str:
    """Return how something that begins with ``head`` is compressed; empty where it is not."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


@contextlib.contextmanager
def _opened(path: Path, compression: str) -> Iterator[IO[bytes]]:
    with contextlib.ExitStack() as stack:
        if compression == "gzip":
            yield cast("IO[bytes]", stack.enter_context(gzip.open(path, "rb")))
        elif compression == "bzip2":
            yield cast("IO[bytes]", stack.enter_context(bz2.open(path, "rb")))
        elif compression == "xz":
            yield stack.enter_context(lzma.open(path, "rb"))
        elif compression == "zstd":
            import pyarrow as pa

            plain = stack.enter_context(pa.OSFile(str(path), "rb"))
            yield cast("IO[bytes]", stack.enter_context(pa.CompressedInputStream(plain, "zstd")))
        else:
            yield stack.enter_context(path.open("rb"))


def raw_pieces(path: Path, compression: str, size: int = PIECE) -> Iterator[bytes]:
    """Yield the unpacked bytes of a file, at most ``size`` at a time.

    Raises:
        DataError: the file cannot be opened, or is damaged.
    """
    try:
        with _opened(path, compression) as stream:
            while piece := stream.read(size):
                yield piece
    except (*STREAM_FAILURES, lzma.LZMAError) as error:
        raise unreadable(path, error) from error


def byte_order_mark(head: bytes) -> tuple[str, int]:
    """Return the encoding that a byte order mark names, and the mark's length; empty and 0 where there is none."""
    return next(((name, len(mark)) for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), ("", 0))


def last_marked(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each piece with whether it is the last; at least one, which may be empty."""
    before = next(pieces, b"")
    for piece in pieces:
        yield before, False
        before = piece
    yield before, True
