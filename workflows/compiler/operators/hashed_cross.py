"""``HashedCross``: the values of several columns together become one hash modulo a number of buckets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.hash_bucket import bucket_onnx, bucket_polars, checked_buckets
from workflows.compiler.operators.hashing import hash_onnx, hash_polars, xor_onnx
from workflows.compiler.operators.step import Applied, Made, Step, Value
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class CrossToBucket(Step):
    """Hashes each column by itself, and the exclusive or of the hashes into ``buckets`` ids from 0.

    Equal values of two columns of one type cancel each other out: all such pairs have one id, that of 0.
    """

    buckets: int

    @property
    def hashes(self) -> bool:
        """Return True."""
        return True

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return int32."""
        if any(kind.is_list for kind in types):
            raise NotCompilableError("The operator HashedCross is applied to lists.", "Cross columns without lists.")
        return ColumnType("int32")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add the hashes, their exclusive or, and ``Mod``; strings have no hash in ONNX."""
        hashes = [hash_onnx(builder, value) for value in values]
        crossed = xor_onnx(builder, *hashes) if len(hashes) > 1 else hashes[0]
        return Value(bucket_onnx(builder, crossed, self.buckets), ColumnType("int32"))

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Hash, combine, and take the rest."""
        hashes = [hash_polars(column, kind) for column, kind in zip(columns, types, strict=True)]
        return bucket_polars(reduce(lambda left, right: left ^ right, hashes), self.buckets)


def read_hashed_cross(applied: Applied) -> Made:
    """Read NVTabular's ``HashedCross``; it crosses all columns that it is applied to, also where they are selected in groups."""
    buckets = applied.operator.num_buckets
    if isinstance(buckets, dict):
        buckets = buckets.get(applied.sources)
    return Made((CrossToBucket(checked_buckets(applied, buckets)),), applied.sources)
