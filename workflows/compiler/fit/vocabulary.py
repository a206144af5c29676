"""Vocabularies: which values get ids and in what order, and the files in which NVTabular keeps them.

The order is by how often a value occurs, most often first, and among equals by the value itself. NVTabular sorts by count alone and
leaves equals in an order of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import DataError, RunError, UsageError

COUNT: Final = "%count"
NULL: Final = 1
FIRST_BUCKET: Final = 2
_EXACT: Final = 1 << 53  # integers up to here are float64 without loss


@dataclass(frozen=True)
class Limits:
    """What keeps a value out of a vocabulary.

    Attributes:
        threshold: the least count; 0 asks for none.
        max_size: the most ids, the reserved ones included; 0 sets no limit.
        buckets: how many ids unknown values share.
    """

    threshold: int = 0
    max_size: int = 0
    buckets: int = 1

    def __post_init__(self) -> None:
        if self.max_size and self.max_size < self.first:
            raise UsageError(
                f"Categorify has max_size={self.max_size}, and {self.first} ids are reserved.",
                f"Give at least {self.first}.",
            )

    @property
    def first(self) -> int:
        """The id of the first value."""
        return FIRST_BUCKET + self.buckets


@dataclass(frozen=True)
class Vocabulary:
    """The values that have ids, in order.

    Attributes:
        values: the key columns, then ``COUNT``.
        nulls: how many values were missing, all key columns at once.
        nullable: the key columns of which a value was missing, alone or with the others, in the vocabulary or not.
        left_out: how many values were counted that are not in the vocabulary.
    """

    values: pl.DataFrame
    nulls: int
    nullable: tuple[str, ...]
    left_out: int

    @property
    def keys(self) -> list[str]:
        """The names of the key columns."""
        return [name for name in self.values.columns if name != COUNT]


def choose(counts: pl.DataFrame, limits: Limits, earlier: pl.DataFrame | None = None) -> Vocabulary:
    """Choose and order the values that get ids.

    Args:
        counts: key columns, each combination of values once, and ``COUNT``.
        limits: what keeps values out.
        earlier: key columns of an earlier vocabulary; its values keep their places, counted or not, and new ones come behind.

    Returns:
        The vocabulary.

    Raises:
        UsageError: if the earlier vocabulary is larger than ``max_size`` allows.
    """
    keys = [name for name in counts.columns if name != COUNT]
    missing = pl.all_horizontal(pl.col(keys).is_null())
    nulls = int(counts.filter(missing)[COUNT].sum())
    nullable = tuple(name for name in keys if counts[name].null_count())
    counts = counts.filter(~missing)
    total = int(counts[COUNT].sum())
    new = counts if earlier is None else counts.join(earlier, on=keys, how="anti", nulls_equal=True)
    new = new.filter(pl.col(COUNT) >= limits.threshold)
    new = new.sort([COUNT, *keys], descending=[True, *[False] * len(keys)], nulls_last=False)
    kept = 0 if earlier is None else earlier.height
    if limits.max_size:
        if kept > limits.max_size - limits.first:
            raise UsageError(
                f"The earlier vocabulary of {keys} has {kept} values, and max_size={limits.max_size} has room for fewer.",
                f"Give max_size={kept + limits.first} or more, or fit without the earlier workflow.",
            )
        new = new.head(limits.max_size - limits.first - kept)
    values = new
    if earlier is not None:
        old = earlier.join(counts, on=keys, how="left", nulls_equal=True, maintain_order="left")
        values = pl.concat([old.with_columns(pl.col(COUNT).fill_null(0)), new])
    return Vocabulary(values, nulls, nullable, total - int(values[COUNT].sum()))


def write_vocabulary(folder: Path, name: str, vocabulary: Vocabulary, first: int, buckets: int) -> Path:
    """Write a vocabulary and what was counted, as NVTabular's ``Categorify`` does.

    Integers of which some were missing are written as floats where that is exact, because pandas, and so NVTabular's transform, holds
    them so: in a combination each column by itself, also where only rows that are missing as a whole had the null.

    Args:
        folder: where to, an existing folder.
        name: the vocabulary's name.
        vocabulary: the values; key columns are named as in the file.
        first: the id of the first value.
        buckets: how many ids unknown values share.

    Returns:
        The file ``unique.<name>.parquet``, beside which ``meta.<name>.parquet`` lies.
    """
    values = vocabulary.values
    floats = [name for name in vocabulary.nullable if is_exact(values[name])]
    values = values.with_columns(pl.col(floats).cast(pl.Float64))
    path = folder / f"unique.{name}.parquet"
    write_frame(path, values.rename({COUNT: f"{name}_size"}), first)
    meta = {
        "kind": ["pad", "null", "oov", "unique"],
        "offset": [0, NULL, FIRST_BUCKET, first],
        "num_indices": [1, 1, buckets, values.height],
        "num_observed": [0, vocabulary.nulls, vocabulary.left_out, int(values[COUNT].sum())],
    }
    write_frame(folder / f"meta.{name}.parquet", pl.DataFrame(meta), 0)
    return path


def read_vocabulary(path: Path, keys: Sequence[str], schema: pl.Schema) -> pl.DataFrame:
    """Read the key columns of an earlier vocabulary, in order.

    Args:
        path: the file that ``write_vocabulary`` or NVTabular wrote, or a folder of several.
        keys: the key columns.
        schema: their types now.

    Returns:
        The key columns, of those types.

    Raises:
        RunError: if the file cannot be read.
        DataError: if a column was of another type.
    """
    try:
        files = sorted(path.glob("*.parquet"), key=lambda file: int(file.stem.split(".")[1])) if path.is_dir() else [path]
        earlier = pl.concat([pl.read_parquet(file, columns=list(keys)) for file in files])
    except (OSError, pl.exceptions.PolarsError, ValueError, IndexError) as error:
        raise RunError(f"The earlier vocabulary {path} cannot be read ({error}).", "Fit without the earlier workflow.") from error
    for key in keys:
        if not _alike(earlier.schema[key], schema[key]):
            raise DataError(
                f"Column {key!r} is {schema[key]}, and {earlier.schema[key]} in the earlier workflow.",
                "Cast it to the earlier type, or fit without the earlier workflow.",
            )
    now = earlier.cast({key: schema[key] for key in keys}, strict=False)
    if not now.cast({key: earlier.schema[key] for key in keys}).equals(earlier):  # 0.5 is no integer, and 300 no int8
        raise DataError(
            f"The earlier vocabulary of {list(keys)} has values that are none of {[str(schema[key]) for key in keys]}.",
            "Cast the columns to the earlier types, or fit without the earlier workflow.",
        )
    return now.filter(~pl.all_horizontal(pl.all().is_null()))  # NVTabular writes one null for a vocabulary without values


def write_frame(path: Path, frame: pl.DataFrame, first: int) -> None:
    """Write a table as pandas would, with an index that counts up from ``first``, and without making it a pandas table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    strings = [pa.field(field.name, pa.string() if field.type == pa.large_string() else field.type) for field in table.schema]
    table = table.cast(pa.schema(strings))
    described: dict[str, Any] = json.loads(pa.Schema.from_pandas(table.slice(0, 0).to_pandas()).metadata[b"pandas"])
    described["index_columns"] = [{"kind": "range", "name": None, "start": first, "stop": first + frame.height, "step": 1}]
    pq.write_table(table.replace_schema_metadata({b"pandas": json.dumps(described).encode()}), path, compression="NONE")


def is_exact(values: pl.Series) -> bool:
    """Whether a column holds integers, all of which are float64 without loss."""
    if not values.dtype.is_integer():
        return False
    ends: list[Any] = [end for end in (values.min(), values.max()) if end is not None]
    return all(-_EXACT <= end <= _EXACT for end in ends)


def _alike(earlier: pl.DataType, now: pl.DataType) -> bool:
    return earlier == now or (earlier.is_numeric() and now.is_numeric()) or earlier == pl.Null
