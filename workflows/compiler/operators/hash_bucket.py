"""``HashBucket``: a value becomes its hash modulo a number of buckets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.hashing import hash_onnx, hash_polars
from workflows.compiler.operators.step import INT32, Applied, Made, Step, Value, elementwise, one
from workflows.compiler.plan.types import ColumnType

MOST_BUCKETS: Final = 2**31
"""As many as int32 has ids for."""


@dataclass(frozen=True)
class HashToBucket(Step):
    """Hashes values, or the elements of lists, into ``buckets`` ids from 0; what is missing has an id of its own hash."""

    buckets: int

    @property
    def hashes(self) -> bool:
        """Return True."""
        return True

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return int32."""
        return types[0].of("int32")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add the hash and ``Mod``; strings have no hash in ONNX."""
        value = values[0]
        return value.becomes(bucket_onnx(builder, hash_onnx(builder, value), self.buckets), "int32", missing=None)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Hash, and take the rest."""
        return elementwise(columns[0], types[0], lambda element: bucket_polars(hash_polars(element, types[0]), self.buckets))


def bucket_onnx(builder: GraphBuilder, hashed: str, buckets: int) -> str:
    """Return a uint64 tensor modulo ``buckets`` as int32."""
    return builder.add("Cast", builder.add("Mod", hashed, builder.constant(buckets, np.uint64)), to=INT32)


def bucket_polars(hashed: pl.Expr, buckets: int) -> pl.Expr:
    """Return UInt64 modulo ``buckets`` as Int32."""
    return (hashed % pl.lit(buckets, pl.UInt64)).cast(pl.Int32)


def checked_buckets(applied: Applied, buckets: Any) -> int:
    """Return a number of buckets.

    Raises:
        NotCompilableError: if it is not a whole number from 1 to ``MOST_BUCKETS``.
    """
    if not isinstance(buckets, (int, np.integer)) or not 1 <= buckets <= MOST_BUCKETS:
        raise applied.refuse(f"hashes into {buckets!r} buckets", f"Use a whole number from 1 to {MOST_BUCKETS}.")
    return int(buckets)


def read_hash_bucket(applied: Applied) -> Made:
    """Read NVTabular's ``HashBucket``, whose number of buckets is one for all columns or one a column."""
    buckets = applied.operator.num_buckets
    return one(applied, HashToBucket(checked_buckets(applied, buckets[applied.column] if isinstance(buckets, dict) else buckets)))
