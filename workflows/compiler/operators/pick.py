"""Takes values out of a fitted table by their place in it: the second half of every join with a table that the workflow holds.

The first half is ``workflows.compiler.operators.keys``, which finds the place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.lists import leaves
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.keys import gather
from workflows.compiler.operators.step import Step, Value, conventional
from workflows.compiler.plan.types import ColumnType, from_polars

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pick(Step):
    """Picks the value at a place; the place -1 is that of the last value, which stands for every key that is not there.

    Attributes:
        column: name of the values, for people.
        values: at least one, of any type that a plan knows; null, or NaN in floats, where a value is missing.
        digest: SHA-256 of the values and their type, by which two steps are told apart.
    """

    column: str
    values: pl.Series = field(compare=False, repr=False)
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kind = from_polars(self.values.dtype)
        values = self.values.to_frame().select(conventional(pl.first(), kind)).to_series()
        stored = values.alias("").to_frame().write_ipc(None).getvalue()
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "digest", hashlib.sha256(stored).hexdigest())

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type of the values."""
        if types[0].is_list:
            raise NotCompilableError(
                f"Values of {self.column!r} are looked up by the elements of lists.", "Look them up by a column without lists."
            )
        return from_polars(self.values.dtype)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add ``Gather``: of the values, of where they are missing, and for lists of their lengths.

        Elements of lists are gathered one by one: ONNX Runtime gathers but the first string of a row.
        """
        kind = from_polars(self.values.dtype)
        place = values[0].name  # ONNX, too, counts -1 from the end
        table, missing, lengths = _dense(self.values, kind)
        slots = place
        if kind.is_list:
            rows, width = table.shape
            start = builder.add("Mul", place, builder.constant(width, np.int64))
            start = builder.add("Mod", start, builder.constant(rows * width, np.int64))  # of -1 that of the last
            slots = builder.add("Add", start, builder.constant(np.arange(width, dtype=np.int64)[None]))
        return Value(
            builder.add("Gather", builder.constant(table.ravel()), slots),
            kind,
            missing=builder.add("Gather", builder.constant(missing.ravel()), slots) if missing.any() else None,
            lengths=builder.add("Gather", builder.constant(lengths), place) if kind.is_list else None,
        )

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Gather."""
        assert types[0].dtype == "int64"
        place = columns[0]
        last = len(self.values) - 1
        return gather(self.values, pl.when(place < 0).then(last).otherwise(place))


def _dense(values: pl.Series, kind: ColumnType) -> tuple[Array, Array, Array]:
    """Return the values and where they are missing, ``[N]`` each or ``[N, L]`` for lists, and the lists' lengths ``[N]``."""
    elements = leaves(values) if kind.is_list else values
    blank = pl.lit("" if kind.is_string else 0).cast(kind.polars_element)
    filled = elements.to_frame().select(pl.first().fill_null(blank)).to_series()
    table = np.array(filled.to_list(), dtype=object) if kind.is_string else filled.to_numpy()
    missing = elements.is_null().to_numpy()
    if not kind.is_list:
        return table, missing, np.ones(len(values), dtype=np.int64)
    lengths = values.list.len().to_numpy().astype(np.int64)
    inside = np.arange(max(1, lengths.max())) < lengths[:, None]
    return _padded(table, inside), _padded(missing, inside), lengths


def _padded(elements: Array, inside: Array) -> Array:
    """Put elements where ``inside`` is true, in order; what is beside them does not matter."""
    matrix = np.full(inside.shape, "" if elements.dtype == object else 0, dtype=elements.dtype)
    matrix[inside] = elements
    return matrix
