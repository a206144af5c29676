"""An NVTabular operator of our own; imports NVTabular (seconds), so import this module only where it is used.

A saved workflow refers to it by its name, so loading one needs this package importable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nvtabular.ops import Categorify


class SharedCategorify(Categorify):  # type: ignore[misc]
    """``Categorify`` for columns that share one given vocabulary, in whose lists ``""`` is padding.

    NVTabular's own way to share, joint encoding, counts a value once for each list that mentions it, so that a frequency threshold would
    count mentions and not events; here the vocabulary is given. Ids are NVTabular's: 0 padding, 2 out of vocabulary, 3 onward the
    vocabulary in order. ``""`` is a value like any other in a scalar column, and id 0 in a list, where it fills up rows.

    Args:
        domain: the vocabulary's name; also the file's and the schema domain's.
        values: the distinct values, at least one, in the order of their ids.
        columns: the columns that share it.
        out_path: folder that the vocabulary is written to.
    """

    def __init__(self, domain: str, values: Sequence[str], columns: Sequence[str], out_path: Path) -> None:
        super().__init__(vocabs={domain: pd.Series(list(values), dtype=object)}, out_path=str(out_path))
        self.storage_name = dict.fromkeys(columns, domain)
        self.fitted = True

    def transform(self, col_selector: Any, df: pd.DataFrame) -> pd.DataFrame:
        """Encode, then turn the blanks of lists to padding."""
        encoded = super().transform(col_selector, df)
        for name in col_selector.names:
            if isinstance(df[name].iloc[0], (list, np.ndarray)):
                encoded[name] = _blanks_to_padding(df[name], encoded[name])
        return encoded


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
