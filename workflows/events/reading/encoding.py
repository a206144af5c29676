"""Which encoding bytes are in that are not UTF-8: found out where it is certain, else said with what each likely one would make of them."""

from __future__ import annotations

import re
from typing import Final

from charset_normalizer import from_bytes

_SEVERAL_BYTES: Final = frozenset(
    {
        "big5",
        "big5hkscs",
        "cp932",
        "cp949",
        "cp950",
        "euc_jis_2004",
        "euc_jisx0213",
        "euc_jp",
        "euc_kr",
        "gb18030",
        "gb2312",
        "gbk",
    }
    | {"johab", "shift_jis", "shift_jis_2004", "shift_jisx0213"}
)
_LEAST_CHARACTERS: Final = 20
_FEW: Final = 0.5
_NAMED: Final = 3
_WESTERN: Final = "cp1252"
_ASCII_LETTER: Final = re.compile(rb"[A-Za-z]")
_NOT_ASCII: Final = re.compile(rb"[\x80-\xff]")
_WORD: Final = re.compile(rb"[^,;|\t\r\n\"]*[\x80-\xff][^,;|\t\r\n\"]*")


class UndecidedError(Exception):
    """A file is not UTF-8.

    Args:
        sample: some of its bytes that show it.
        row: the first row that does, 0 for the header.
    """

    def __init__(self, sample: bytes, row: int) -> None:
        super().__init__()
        self.sample = sample
        self.row = row


def certain_encoding(sample: bytes) -> str:
    """Return the encoding of ``sample`` where there is no doubt about it, else an empty string.

    Encodings of one byte a character decode anything, so that é in one is č in the next: none of them is ever certain. Those of
    several bytes are where no other candidate is left.
    """
    found = list(from_bytes(sample))
    if len(found) != 1 or found[0].encoding not in _SEVERAL_BYTES or found[0].chaos > 0:
        return ""
    characters = sum(character > "\x7f" for character in str(found[0]))
    return str(found[0].encoding) if characters >= _LEAST_CHARACTERS else ""


def readings(sample: bytes) -> tuple[str, dict[str, str]]:
    """Return a word of ``sample`` that is not ASCII, and for each likely encoding, likeliest first, what the word would be in it."""
    match = _WORD.search(sample)
    word = (match.group() if match else sample).strip()[:40]
    found = [str(result.encoding) for result in sorted(from_bytes(sample), key=lambda result: (-result.coherence, result.chaos))]
    # Text in Latin letters has few others between them; the library is often wrong about which of the encodings of Europe it is.
    others, letters = len(_NOT_ASCII.findall(sample)), len(_ASCII_LETTER.findall(sample))
    few = others <= _FEW * (others + letters)
    likely = [_WESTERN, *found] if few else [*found, _WESTERN]
    read: dict[str, str] = {}
    for encoding in likely:
        try:
            text = word.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
        if text not in read.values() and len(read) < _NAMED:
            read.setdefault(encoding, text)
    return repr(word)[2:-1], read
