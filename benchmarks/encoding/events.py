"""The events that the workflow benchmark encodes, and the NVTabular graph that says how.

Four categorical columns (two of strings, two of integers), four continuous and one list of strings. Values are drawn by Zipf's law,
the same ones for the same seed. One user id in fifty and one continuous value in twenty are null.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from benchmarks.encoding.child import Stages

CATEGORICAL: Final = ("user_id", "item_id", "category", "shop")
CONTINUOUS: Final = ("price", "quantity", "age_days", "visits")
LIST: Final = "tags"
VALUES: Final = {"user_id": 1_000_000, "item_id": 100_000, "category": 10_000, "shop": 1_000, LIST: 10_000}
"""How many different values each column can have, the most frequent first."""
LONGEST: Final = 5
"""Elements of the longest list; the shortest has one."""
CHUNK: Final = 250_000
"""Rows of one row group, which is also the most that is drawn at once."""
SEED: Final = 1


def write_events(path: Path, rows: int) -> None:
    """Write events to one Parquet file, a row group at a time.

    Args:
        path: the file.
        rows: how many events.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, draw(1, 0).to_arrow(compat_level=pl.CompatLevel.oldest()).schema) as writer:
        for number, start in enumerate(range(0, rows, CHUNK)):
            frame = draw(min(CHUNK, rows - start), number)
            writer.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()))


def written(events: str, rows: int) -> Stages:
    """Write events as a stage of a child, whose memory then goes with it."""
    return [("write", lambda: write_events(Path(events), rows))]


def draw(rows: int, chunk: int) -> pl.DataFrame:
    """Draw events.

    Args:
        rows: how many.
        chunk: which part of the log; another one gives other events.

    Returns:
        ``user_id``, ``item_id`` (strings), ``category``, ``shop`` (int64), the continuous columns (float32), ``tags`` (lists of strings).
    """
    rng = np.random.default_rng([SEED, chunk])
    lengths = rng.integers(1, LONGEST + 1, rows)
    tags = names("tag", _zipf(rng, VALUES[LIST], int(lengths.sum())))
    lists = pl.DataFrame({"row": np.repeat(np.arange(rows), lengths), LIST: tags}).group_by("row", maintain_order=True).agg(LIST)
    users = names("user", _zipf(rng, VALUES["user_id"], rows))
    columns = {
        "user_id": pl.select(pl.when(pl.Series(rng.random(rows) >= 0.02)).then(users)).to_series(),
        "item_id": names("item", _zipf(rng, VALUES["item_id"], rows)),
        **{name: pl.Series(_zipf(rng, VALUES[name], rows)) for name in ("category", "shop")},
        **{name: _amounts(rng, rows) for name in CONTINUOUS},
        LIST: lists[LIST],
    }
    return pl.DataFrame(columns)


def names(kind: str, numbers: npt.NDArray[np.int64]) -> pl.Series:
    """Return ids such as ``user-0000042``."""
    return pl.select(pl.lit(f"{kind}-") + pl.Series(numbers).cast(pl.String).str.zfill(7)).to_series()


def every_user(count: int) -> pl.DataFrame:
    """Return as many events as there are users, at least 10,000, such that each user occurs.

    Args:
        count: how many users.
    """
    rows = max(count, 10_000)
    frame = pl.concat([draw(min(CHUNK, rows - start), number) for number, start in enumerate(range(0, rows, CHUNK))])
    return frame.with_columns(user_id=names("user", np.arange(rows) % count))


def feature_graph(folder: Path, *, numbers: bool = True) -> Any:
    """Return an unfitted NVTabular workflow over all columns.

    Args:
        folder: where ``Categorify`` writes its vocabularies.
        numbers: whether continuous columns are scaled after they are filled; otherwise the graph has only operators that NVTabular
            also has in C++.
    """
    from nvtabular import Workflow, ops

    continuous = list(CONTINUOUS) >> ops.FillMissing()
    if numbers:
        continuous = continuous >> ops.LogOp() >> ops.Normalize(out_dtype="float32")
    categorical = [*CATEGORICAL, LIST] >> ops.Categorify(out_path=str(folder))
    return Workflow(categorical + continuous)


def _zipf(rng: np.random.Generator, count: int, size: int) -> npt.NDArray[np.int64]:
    """Draw numbers below ``count``, each about as likely as one over itself."""
    numbers: npt.NDArray[np.int64] = (np.exp(rng.random(size) * np.log(count + 1)) - 1).astype(np.int64)
    return numbers.clip(max=count - 1)


def _amounts(rng: np.random.Generator, rows: int) -> pl.Series:
    values = pl.Series(rng.lognormal(2.0, 1.0, rows).astype(np.float32))
    return pl.select(pl.when(pl.Series(rng.random(rows) >= 0.05)).then(values)).to_series()
