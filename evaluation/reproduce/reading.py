"""Reads the publishers' text formats, and reports invalid lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from cartwheel.core.errors import DataError


def lines_of(path: Path, wanted: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file with their numbers from 1, empty ones left out.

    Args:
        path: the file.
        wanted: what should be there, as a noun phrase, for the message.

    Raises:
        DataError: if there is no such file, it is not text, or it is empty.
    """
    if not path.is_file():
        raise DataError(
            f"{path} is {'a folder' if path.is_dir() else 'not there'}; expected {wanted}.", "Give the path of the file."
        )
    found = False
    with path.open(encoding="latin-1", newline=None) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                found = True
                yield number, line.rstrip("\r\n")
    if not found:
        raise DataError(f"{path} is empty; expected {wanted}.", "Get the file again.")


def line_error(path: Path, number: int, line: str, wanted: str) -> DataError:
    """Return the error of a line that cannot be read."""
    shown = line if len(line) <= 60 else line[:57] + "..."
    return DataError(f"{path}, line {number}: {shown!r}; expected {wanted}.", "Give the publisher's file, unchanged.")


def read_sequences(path: Path) -> pl.DataFrame:
    """Read ``user item item ...`` lines, items in order of time and numbers all.

    Returns:
        ``user_id``, ``item_id`` and ``timestamp``, the place in the user's sequence from 0; integers.

    Raises:
        DataError: naming the line.
    """
    wanted = "a user and at least one item, whole numbers with spaces between"
    users: list[int] = []
    items: list[int] = []
    places: list[int] = []
    first: dict[int, int] = {}
    for number, line in lines_of(path, f"lines of {wanted}"):
        words = line.split()
        if len(words) < 2 or not all(word.isascii() and word.isdigit() for word in words):
            raise line_error(path, number, line, wanted)
        user = int(words[0])
        if first.setdefault(user, number) != number:
            raise DataError(f"{path}, line {number}: user {user} has line {first[user]} already.", "Give each user one line.")
        users += [user] * (len(words) - 1)
        items += map(int, words[1:])
        places += range(len(words) - 1)
    return pl.DataFrame({"user_id": users, "item_id": items, "timestamp": places})
