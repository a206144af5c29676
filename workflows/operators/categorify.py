"""``Categorify``: a value becomes its place in the vocabulary.

NVTabular 23.8 numbers 0 padding, 1 null, 2 out of vocabulary, and 3 onward the vocabulary in the order of its file.
ONNX: ``LabelEncoder`` (ai.onnx.ml, version 2 and later), whose default is 2. Strings are never null by contract, so 1 does not occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.errors import RunError
from workflows.onnx_graph import GraphBuilder
from workflows.operators.step import Applied, Made, Step, Value, elementwise, one
from workflows.plan.types import ColumnType

PADDING: Final = 0
NULL: Final = 1
OUT_OF_VOCABULARY: Final = 2
FIRST: Final = 3


@dataclass(frozen=True)
class Lookup(Step):
    """Looks values up in a vocabulary.

    Attributes:
        domain: name of the vocabulary; columns that share it share their ids.
        keys: the vocabulary, all strings or all integers; the first is number 3.
        blank_pads: whether ``""`` in a list is padding (0) and not a value.
    """

    domain: str
    keys: tuple[str, ...] | tuple[int, ...]
    blank_pads: bool

    @property
    def cardinality(self) -> int:
        """How many ids there are, the three reserved ones included."""
        return FIRST + len(self.keys)

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return int64."""
        return types[0].of("int64")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add one ``LabelEncoder``, and ``Where`` for what is missing."""
        value = values[0]
        table: dict[Any, int] = {key: FIRST + place for place, key in enumerate(self.keys)}
        if not table:  # an ONNX LabelEncoder needs a key
            table = {"" if value.type.is_string else 0: OUT_OF_VOCABULARY}
        if value.type.is_string:
            if value.type.is_list and self.blank_pads:
                table = {**table, "": PADDING}
            keys: dict[str, Any] = {"keys_strings": [str(key) for key in table]}
        else:
            keys = {"keys_int64s": [int(key) for key in table]}
        encoded = builder.add(
            "LabelEncoder",
            value.name,
            domain="ai.onnx.ml",
            values_int64s=list(table.values()),
            default_int64=OUT_OF_VOCABULARY,
            **keys,
        )
        if value.missing is not None:
            encoded = builder.add("Where", value.missing, builder.constant(NULL, np.int64), encoded)
        return value.becomes(encoded, "int64", missing=None)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Cast to an enumeration of the vocabulary, whose physical numbers are the places in it."""
        column, kind = columns[0], types[0]
        if not kind.is_string:
            keys = pl.Series(self.keys, dtype=pl.Int64)
            ids = pl.int_range(FIRST, FIRST + len(self.keys), eager=True)
            return elementwise(
                column,
                kind,
                lambda element: (
                    pl.when(element.is_null())
                    .then(NULL)
                    .otherwise(element.cast(pl.Int64).replace_strict(keys, ids, default=OUT_OF_VOCABULARY, return_dtype=pl.Int64))
                ),
            )
        vocabulary = pl.Enum(pl.Series(self.keys, dtype=pl.String))

        def change(element: pl.Expr) -> pl.Expr:
            place = element.cast(vocabulary, strict=False).to_physical().cast(pl.Int64)
            ids = (place + FIRST).fill_null(OUT_OF_VOCABULARY)
            if kind.is_list and self.blank_pads:
                ids = pl.when(element == "").then(PADDING).otherwise(ids)
            return pl.when(element.is_null()).then(NULL).otherwise(ids)

        return elementwise(column, kind, change)

    def describe(self) -> str:
        """Return the vocabulary's name, size and first values."""
        return f"Lookup(domain={self.domain!r}, keys={len(self.keys)}, blank_pads={self.blank_pads})"


def read_categorify(applied: Applied) -> Made:
    """Read NVTabular's ``Categorify``."""
    return one(applied, _lookup(applied, blank_pads=False))


def read_shared_categorify(applied: Applied) -> Made:
    """Read ``workflows.shared_categorify.SharedCategorify``, for which ``""`` in a list is padding."""
    return one(applied, _lookup(applied, blank_pads=True))


def _lookup(applied: Applied, *, blank_pads: bool) -> Lookup:
    operator = applied.operator
    if operator.encode_type != "joint":
        raise applied.refuse("encodes combinations of columns", "Use encode_type='joint'.")
    if operator.num_buckets:
        raise applied.refuse("hashes unknown values into buckets", "Leave num_buckets out: unknown values then share one id.")
    if operator.single_table:
        raise applied.refuse("numbers all columns in one table", "Use single_table=False.")
    if not isinstance(operator.split_out, int) or operator.split_out > 1:
        raise applied.refuse("keeps its vocabulary in several files", "Use split_out=1.")
    if operator.output_dtype != np.int64:
        raise applied.refuse(f"encodes to {np.dtype(operator.output_dtype).name}", "Leave dtype out: ids are int64.")
    domain = operator.storage_name.get(applied.column, applied.column)
    return Lookup(domain, _vocabulary(applied, domain), blank_pads)


def _vocabulary(applied: Applied, domain: str) -> tuple[str, ...] | tuple[int, ...]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    path = applied.operator.categories.get(domain)
    if path is None:
        raise RunError(
            f"Feature column {applied.column!r}: its Categorify is not fitted.", "Fit the workflow before compiling it."
        )
    try:
        values = pq.read_table(Path(path), columns=[domain]).column(0).to_pylist()
    except (OSError, ArrowException, KeyError, ValueError) as error:
        raise RunError(
            f"Feature column {applied.column!r}: its vocabulary {path} cannot be read ({error}).", "Run prepare again."
        ) from error
    if values == [None]:  # how NVTabular writes a vocabulary without values
        return ()
    for kind in (str, int):
        if all(isinstance(value, kind) for value in values):
            return tuple(values)
    raise applied.refuse("has a vocabulary that is neither all strings nor all integers", "Cast the column to strings first.")
