"""Whether two encodings of one table are the same, up to how values that are equally frequent are numbered."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from benchmarks.encoding.events import CATEGORICAL, CONTINUOUS, LIST
from cartwheel.core.errors import ParityError
from workflows.compiler.lists import leaves

TOLERANCE: Final = 1e-6
"""Largest difference of two floats, relative to the larger of 1 and the number."""
_FIRST: Final = 3
_NOTHING: Final = "Nothing was timed; mend what differs first."


def read_encoded(folder: Path) -> pl.DataFrame:
    """Read all encoded rows below a folder, in the order of the files' numbers."""
    paths = sorted(folder.glob("*.parquet"), key=lambda path: int("".join(filter(str.isdigit, path.stem)) or 0))
    return pl.concat([pl.read_parquet(path) for path in paths])


def compare(one: pl.DataFrame, other: pl.DataFrame, names: tuple[str, str]) -> None:
    """Compare two encodings of the same rows.

    Args:
        one: the first encoding.
        other: the second; its columns may come in another order.
        names: what the two are called.

    Raises:
        ParityError: naming the first column that differs and how.
    """
    for column in (*CATEGORICAL, *CONTINUOUS, LIST):
        if wrong := _difference(one[column], other[column]):
            raise ParityError(f"{names[0]} and {names[1]} disagree in column {column!r}: {wrong}.", _NOTHING)


def _difference(one: pl.Series, other: pl.Series) -> str:
    """Return how two columns differ, "" where they do not."""
    if one.dtype != other.dtype or len(one) != len(other):
        return f"{len(one)} rows of {one.dtype} against {len(other)} of {other.dtype}"
    if isinstance(one.dtype, pl.List):
        if (one.list.len() != other.list.len()).any():
            return "lists of other lengths"
        one, other = leaves(one), leaves(other)
    if one.dtype.is_float():
        apart = np.abs(one.to_numpy() - other.to_numpy()) / np.maximum(1.0, np.abs(one.to_numpy()))
        return "" if (apart <= TOLERANCE).all() else f"a float differs by {np.max(apart):.1e}"
    return _numbering(pl.DataFrame({"one": one, "other": other}))


def _numbering(ids: pl.DataFrame) -> str:
    """Return how two numberings of the same values differ beyond ties."""
    pairs = ids.group_by("one", "other").len()
    if pairs["one"].n_unique() != pairs.height or pairs["other"].n_unique() != pairs.height:
        return "one value has two ids"
    if (
        not pairs.filter((pl.col("one") < _FIRST) | (pl.col("other") < _FIRST))
        .select((pl.col("one") == pl.col("other")).all())
        .item()
    ):
        return "null or unknown values have other ids"
    for side in ("one", "other"):
        counts = pairs.filter(pl.col(side) >= _FIRST).sort(side)["len"]
        if not counts.is_sorted(descending=True):
            return "a rarer value comes before a more frequent one"
    return ""
