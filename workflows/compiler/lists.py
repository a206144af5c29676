"""Operations on list columns that Polars lacks or is about to change."""

from __future__ import annotations

import polars as pl


def leaves(lists: pl.Series) -> pl.Series:
    """Return the elements of all lists in order; an empty or null list adds none (Polars' ``explode`` is about to change what it adds)."""
    inner = lists.dtype.inner if isinstance(lists.dtype, pl.List) else pl.Null
    found = pl.from_arrow(lists.rechunk().to_arrow().flatten())
    assert isinstance(found, pl.Series)
    return found.cast(inner)
