"""An NVTabular operator of our own; imports NVTabular (seconds), so import this module only where it is used.

A saved workflow refers to it by its name, so loading one needs this package importable.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from nvtabular.ops import Categorify

from workflows.compiler.fit.vocabulary import write_frame
from workflows.compiler.operators.categorify import FIRST


class SharedCategorify(Categorify):  # type: ignore[misc]
    """``Categorify`` for columns that share one given vocabulary, in whose lists ``""`` is padding.

    NVTabular's own way to share, joint encoding, counts a value once for each list that mentions it, so that a frequency threshold would
    count mentions and not events; here the vocabulary is given. Ids are NVTabular's: 0 padding, 2 out of vocabulary, 3 onward the
    vocabulary in order. ``""`` is a value like any other in a scalar column, and id 0 in a list, where it fills up rows.

    Args:
        domain: the vocabulary's name; also the file's and the schema domain's.
        values: the distinct values, at least one, in the order of their ids.
        columns: the columns that share it.
        out_path: folder that the vocabulary is written to, in a folder of its own for each content: another operator of this domain leaves
            it alone.
    """

    def __init__(self, domain: str, values: Sequence[str], columns: Sequence[str], out_path: Path) -> None:
        super().__init__(vocabs={domain: str(_written(Path(out_path), domain, values))}, out_path=str(out_path))
        self.storage_name = dict.fromkeys(columns, domain)
        self.fitted = True

    def transform(self, col_selector: Any, df: pd.DataFrame) -> pd.DataFrame:
        """Encode, then turn the blanks of lists to padding."""
        encoded = super().transform(col_selector, df)
        for name in col_selector.names:
            if isinstance(df[name].iloc[0], (list, np.ndarray)):
                encoded[name] = _blanks_to_padding(df[name], encoded[name])
        return encoded


def _written(out_path: Path, domain: str, values: Sequence[str]) -> Path:
    """Write a vocabulary, into ``categories`` or, where another one of its name lies there, into ``categories.1`` and so on."""
    frame = pl.DataFrame({domain: pl.Series(list(values), dtype=pl.String)})
    for number in itertools.count():
        path = out_path / (f"categories.{number}" if number else "categories") / f"unique.{domain}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_frame(path, frame, FIRST)
            return path
        if _holds(path, frame):
            return path
    raise AssertionError


def _holds(path: Path, frame: pl.DataFrame) -> bool:
    try:
        return pl.read_parquet(path).equals(frame)
    except (OSError, pl.exceptions.PolarsError):
        return False


def _blanks_to_padding(raw: pd.Series, ids: pd.Series) -> pd.Series:
    """Return the lists ``ids`` with 0 wherever ``raw`` holds ``""``; only rows with a blank cost anything."""
    lengths = raw.str.len().to_numpy()
    blank = np.concatenate(raw.to_numpy()) == ""
    rows = np.unique(np.repeat(np.arange(len(raw)), lengths)[blank])
    starts = np.cumsum(lengths) - lengths
    changed = ids.to_numpy(copy=True)
    for row in rows:
        changed[row] = np.where(blank[starts[row] : starts[row] + lengths[row]], 0, changed[row])
    return pd.Series(changed, index=ids.index)
