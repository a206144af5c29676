"""``ColumnSimilarity``: the inner product of two rows of given matrices, each selected by an id.

NVTabular brings the matrices to the metric (tf-idf, cosine or none) before their first use, and looks up whatever lies behind their end if
an id has no row. Here such an id, and a missing one, has no similarity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.step import INT64, Applied, Made, Step, Value
from workflows.compiler.plan.types import ColumnType

Matrix = Any
_LARGEST: Final = 20_000_000
"""Numbers of a matrix that a request's graph may hold, where it is dense."""


@dataclass(frozen=True)
class RowProduct(Step):
    """Multiplies the rows of two ids and adds up.

    Attributes:
        left: ``scipy.sparse.csr_matrix`` [N, D].
        right: likewise [M, D].
        digest: SHA-256 of both, by which two steps are told apart.
    """

    left: Matrix = field(compare=False, repr=False)
    right: Matrix = field(compare=False, repr=False)
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        whole = hashlib.sha256()
        for matrix in (self.left, self.right):
            for part in (matrix.indptr, matrix.indices, matrix.data):
                whole.update(f"{matrix.shape} {part.dtype} ".encode() + np.ascontiguousarray(part).tobytes())
        object.__setattr__(self, "digest", whole.hexdigest())

    @property
    def is_exact(self) -> bool:
        """Return False: the order in which numbers are added up is the executor's."""
        return False

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return float64."""
        if any(kind.is_list or not kind.is_integer for kind in types):
            raise NotCompilableError(
                f"ColumnSimilarity is applied to columns of type {types[0]} and {types[1]}.",
                "Apply it to two columns of whole numbers.",
            )
        return ColumnType("float64")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Gather`` of dense rows, with one of NaN behind them, ``Mul`` and ``ReduceSum``.

        Raises:
            NotCompilableError: if a matrix is too large to be dense.
        """
        rows = []
        for value, matrix in zip(values, (self.left, self.right), strict=True):
            if matrix.shape[0] * matrix.shape[1] > _LARGEST:
                raise NotCompilableError(
                    f"ColumnSimilarity has a matrix of {matrix.shape[0]:,} rows of {matrix.shape[1]:,}, too large for a request's graph.",
                    "Leave the column out of requests, or reduce its dimensions.",
                )
            table = np.vstack([matrix.toarray(), np.full((1, matrix.shape[1]), np.nan)]).astype(np.float64)
            count = builder.constant(matrix.shape[0], np.int64)
            place = builder.add("Cast", value.name, to=INT64)
            beyond = builder.add(
                "Or", builder.add("Less", place, builder.constant(0, np.int64)), builder.add("GreaterOrEqual", place, count)
            )
            if value.missing is not None:
                beyond = builder.add("Or", beyond, value.missing)
            rows.append(builder.add("Gather", builder.constant(table), builder.add("Where", beyond, count, place)))
        product = builder.add("ReduceSum", builder.add("Mul", *rows), builder.constant([2], np.int64), keepdims=0)
        return Value(product, ColumnType("float64"))

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:  # noqa: ARG002  (the interface's)
        """Multiply sparse rows."""

        def multiplied(batch: pl.Series) -> pl.Series:
            places = [batch.struct.field(name).cast(pl.Int64).fill_null(-1).to_numpy() for name in ("left", "right")]
            return pl.Series(batch.name, self._products(*places))

        pair = pl.struct(columns[0].alias("left"), columns[1].alias("right"))
        return pair.map_batches(multiplied, return_dtype=pl.Float64(), is_elementwise=True)

    def _products(self, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        known = (left >= 0) & (left < self.left.shape[0]) & (right >= 0) & (right < self.right.shape[0])
        found = np.full(len(left), np.nan)
        found[known] = np.asarray(self.left[left[known]].multiply(self.right[right[known]]).sum(axis=1)).ravel()
        return found


def read_column_similarity(applied: Applied) -> Made:
    """Read NVTabular's ``ColumnSimilarity``."""
    from nvtabular.ops.column_similarity import _convert_features

    operator = applied.operator
    left, right = operator.left_features, operator.right_features
    if not operator._initialized:
        left = _convert_features(left, operator.metric, False)
        right = left if right is None else _convert_features(right, operator.metric, False)
    width = max(left.shape[1], right.shape[1])
    both = [matrix.tocsr().astype(np.float64) for matrix in (left, right)]
    for matrix in both:
        matrix.resize((matrix.shape[0], width))
    return Made((RowProduct(*both),), applied.sources)
