"""The benchmark's workflow as one would write it by hand with pandas: two passes over the row groups of the table.

The first counts values and sums moments, the second maps and scales. Only one row group and the vocabularies are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.encoding.child import Stages
from benchmarks.encoding.events import CATEGORICAL, CONTINUOUS, LIST

_NULL: Final = 1
_UNKNOWN: Final = 2
_FIRST: Final = 3


class PandasPipeline:
    """Categories numbered by how frequent they are; numbers filled with 0, logged and standardised."""

    def __init__(self) -> None:
        self.vocabularies: dict[str, pd.Index] = {}
        self.moments: dict[str, tuple[float, float]] = {}

    def fit(self, events: Path) -> None:
        """Read the table once and keep vocabularies, means and standard deviations."""
        counts: dict[str, pd.Series] = {}
        rows = 0
        sums = np.zeros((2, len(CONTINUOUS)))
        for table in _row_groups(events):
            for name, values in _categories(table).items():
                found = values.value_counts(sort=False)
                counts[name] = counts[name].add(found, fill_value=0) if name in counts else found
            numbers = _logarithms(table).astype(np.float64)
            rows += len(numbers)
            sums += [numbers.sum(axis=0), (numbers**2).sum(axis=0)]
        self.vocabularies = {name: found.sort_values(ascending=False, kind="stable").index for name, found in counts.items()}
        means = sums[0] / rows
        deviations = np.sqrt((sums[1] - rows * means**2) / (rows - 1))
        self.moments = dict(zip(CONTINUOUS, zip(means.tolist(), deviations.tolist(), strict=True), strict=True))

    def transform(self, events: Path, output: Path) -> None:
        """Encode the table into one Parquet file."""
        writer = None
        for table in _row_groups(events):
            encoded = self._encode(table)
            writer = writer or pq.ParquetWriter(output, encoded.schema)
            writer.write_table(encoded)
        if writer is not None:
            writer.close()

    def _encode(self, table: pa.Table) -> pa.Table:
        columns: dict[str, Any] = {name: self._ids(name, values) for name, values in _categories(table).items()}
        numbers = _logarithms(table)
        for place, name in enumerate(CONTINUOUS):
            mean, deviation = (np.float32(moment) for moment in self.moments[name])
            columns[name] = (numbers[:, place] - mean) / deviation
        offsets = _list(table).offsets
        columns[LIST] = pa.ListArray.from_arrays(offsets, pa.array(columns[LIST]))
        return pa.table({name: columns[name] for name in table.column_names})

    def _ids(self, name: str, values: pd.Series) -> np.ndarray[Any, np.dtype[np.int64]]:
        places = self.vocabularies[name].get_indexer(values)
        ids = np.where(places < 0, _UNKNOWN, places + _FIRST)
        ids[values.isna().to_numpy()] = _NULL
        return ids


def _row_groups(events: Path) -> Iterator[pa.Table]:
    file = pq.ParquetFile(events)
    for number in range(file.num_row_groups):
        yield file.read_row_group(number)


def _list(table: pa.Table) -> pa.ListArray:
    return table[LIST].combine_chunks()


def _categories(table: pa.Table) -> Mapping[str, pd.Series]:
    return {**{name: table[name].to_pandas() for name in CATEGORICAL}, LIST: _list(table).values.to_pandas()}


def _logarithms(table: pa.Table) -> np.ndarray[Any, np.dtype[np.float32]]:
    numbers = table.select(CONTINUOUS).to_pandas().fillna(0).to_numpy(np.float32)
    return np.log(numbers + 1)


def by_hand(events: str, folder: str) -> Stages:
    """Fit and transform with pandas.

    Args:
        events: the Parquet file.
        folder: where ``encoded/0.parquet`` goes.
    """
    pipeline = PandasPipeline()
    output = Path(folder) / "encoded" / "0.parquet"
    output.parent.mkdir(parents=True)
    return [("fit", lambda: pipeline.fit(Path(events))), ("transform", lambda: pipeline.transform(Path(events), output))]
