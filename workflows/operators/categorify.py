"""``Categorify``: a value becomes its place in the vocabulary.

NVTabular 23.8 numbers 0 padding, 1 null, 2 out of vocabulary, and 3 onward the vocabulary in the order of its file.
ONNX: ``LabelEncoder`` (ai.onnx.ml, version 2 and later), whose default is 2. Strings are never null by contract, so 1 does not occur.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.errors import RunError
from workflows.onnx_graph import GraphBuilder
from workflows.operators.step import Applied, Value

PADDING: Final = 0
NULL: Final = 1
OUT_OF_VOCABULARY: Final = 2
FIRST: Final = 3


@dataclass(frozen=True)
class Lookup:
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

    def onnx(self, builder: GraphBuilder, value: Value) -> Value:
        """Add one ``LabelEncoder``."""
        table: dict[Any, int] = {key: FIRST + place for place, key in enumerate(self.keys)}
        if not table:  # an ONNX LabelEncoder needs a key
            table = {"" if value.dtype == "string" else 0: OUT_OF_VOCABULARY}
        if value.dtype == "string":
            if value.is_list and self.blank_pads:
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
        return value.becomes(encoded, "int64")


def read_categorify(applied: Applied) -> tuple[Lookup]:
    """Read NVTabular's ``Categorify``."""
    return (_lookup(applied, blank_pads=False),)


def read_shared_categorify(applied: Applied) -> tuple[Lookup]:
    """Read ``workflows.shared_categorify.SharedCategorify``, for which ``""`` in a list is padding."""
    return (_lookup(applied, blank_pads=True),)


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
