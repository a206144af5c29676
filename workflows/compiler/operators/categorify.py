"""``Categorify``: a value, or a combination of values, becomes its number in a vocabulary.

NVTabular 23.8 numbers 0 padding, 1 null, 2 onward what is out of vocabulary (one number, or as many as there are hash buckets), and behind
these the vocabulary in the order of its file. A null element of a list is null as well, 1; a combination is null where all its values are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

import numpy as np
import polars as pl

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.hashing import hash_onnx, hash_polars, xor_onnx
from workflows.compiler.operators.keys import ABSENT, Keys, missing, missing_onnx
from workflows.compiler.operators.step import INT64, Applied, Made, Step, Value, elementwise
from workflows.compiler.operators.vocabulary_file import read_vocabulary
from workflows.compiler.plan.types import DTYPES, ColumnType

PADDING: Final = 0
NULL: Final = 1
OUT_OF_VOCABULARY: Final = 2
FIRST: Final = 3
"""The first number of a vocabulary without hash buckets."""


@dataclass(frozen=True)
class Lookup(Step):
    """Looks values up in a vocabulary.

    Attributes:
        domain: name of the vocabulary; columns that share it share their ids.
        columns: what the values of a key are called; several for a vocabulary of combinations.
        keys: the vocabulary.
        first: the id of its first key.
        buckets: so many ids, from 2, what is out of vocabulary is hashed to.
        dtype: type of the ids.
        blank_pads: whether ``""`` in a list is padding (0) and not a value.
    """

    domain: str
    columns: tuple[str, ...]
    keys: Keys
    first: int = FIRST
    buckets: int = 1
    dtype: str = "int64"
    blank_pads: bool = False

    @property
    def cardinality(self) -> int:
        """How many ids there are, those that stand for no key included."""
        return self.first + len(self.keys)

    def inverse(self) -> pl.Series:
        """Return the key of each id: of ``cardinality`` values, null where an id stands for no key, as those below ``first`` do.

        The keys of a vocabulary of combinations are structs, whose fields are ``columns``.
        """
        named = pl.DataFrame(self.keys.columns, schema=list(self.columns))
        keys = named.to_struct() if len(self.columns) > 1 else named.to_series()
        return pl.Series(self.domain, [None] * self.first, dtype=keys.dtype).extend(keys.alias(self.domain))

    @property
    def hashes(self) -> bool:
        """Return whether what is out of vocabulary is hashed."""
        return self.buckets > 1

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return ids, in lists where the values are."""
        return self.keys.result(types).of(self.dtype)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add the lookup, the hash of what is not found where there are buckets, and ``Where`` for what is missing."""
        nulls = [missing_onnx(builder, value) for value in values]
        alone = len(values) == 1  # what is missing is then null, whatever the keys say
        looked = [values[0].becomes(values[0].name, missing=None)] if alone else values
        ids = self.keys.onnx(builder, looked, first=self.first, unknown=OUT_OF_VOCABULARY if self.buckets == 1 else ABSENT).name
        if self.buckets > 1:
            unknown = builder.add("Less", ids, builder.constant(0, np.int64))
            ids = builder.add("Where", unknown, self._bucket_onnx(builder, values), ids)
        if self._has_padding(values[0].type):
            unpadded = builder.add(
                "LabelEncoder", values[0].name, domain="ai.onnx.ml", keys_strings=[""], values_int64s=[0], default_int64=1
            )
            ids = builder.add("Mul", ids, unpadded)
        known = [null for null in nulls if null is not None]
        if len(known) == len(values):
            null = reduce(lambda left, right: builder.add("And", left, right), known)
            ids = builder.add("Where", null, builder.constant(NULL, np.int64), ids)
        if self.dtype != "int64":
            ids = builder.add("Cast", ids, to=ColumnType(self.dtype).onnx)
        return values[0].becomes(ids, self.dtype, missing=None)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Return the ids of values, or of the elements of lists."""
        if not types[0].is_list:
            return self._ids(columns, types)
        return elementwise(columns[0], types[0], lambda element: self._ids([element], types))

    def _has_padding(self, kind: ColumnType) -> bool:
        return self.blank_pads and kind.is_list and kind.is_string

    def _ids(self, elements: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        unknown = OUT_OF_VOCABULARY if self.buckets == 1 else ABSENT
        ids = self.keys.places(elements, types, first=self.first, unknown=unknown)
        if self.buckets > 1:
            hashed = reduce(xor, map(hash_polars, elements, types))
            bucket = (hashed % pl.lit(self.buckets, pl.UInt64)).cast(pl.Int64) + OUT_OF_VOCABULARY
            ids = pl.when(ids < 0).then(bucket).otherwise(ids)
        if self._has_padding(types[0]):
            ids = pl.when(elements[0] == "").then(PADDING).otherwise(ids)
        null = pl.all_horizontal(list(map(missing, elements, types))) if len(elements) > 1 else missing(elements[0], types[0])
        return pl.when(null).then(NULL).otherwise(ids).cast(ColumnType(self.dtype).polars_element)

    def _bucket_onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> str:
        if any(value.type.is_string for value in values):
            raise NotCompilableError(
                f"The vocabulary {self.domain!r} hashes unknown strings into {self.buckets} buckets, which ONNX cannot do.",
                "Leave num_buckets out, so that unknown strings share one id, or give the column integers.",
            )
        hashes = [hash_onnx(builder, value) for value in values]
        hashed = hashes[0] if len(hashes) == 1 else xor_onnx(builder, *hashes)
        bucket = builder.add("Mod", hashed, builder.constant(self.buckets, np.uint64))
        return builder.add("Add", builder.add("Cast", bucket, to=INT64), builder.constant(OUT_OF_VOCABULARY, np.int64))


def read_categorify(applied: Applied) -> Made:
    """Read NVTabular's ``Categorify``."""
    return Made((_lookup(applied, blank_pads=False),), applied.sources)


def read_shared_categorify(applied: Applied) -> Made:
    """Read ``workflows.compiler.shared_categorify.SharedCategorify``, for which ``""`` in a list is padding."""
    return Made((_lookup(applied, blank_pads=True),), applied.sources)


def _lookup(applied: Applied, *, blank_pads: bool) -> Lookup:
    operator = applied.operator
    combination = operator.encode_type == "combo"
    domain = applied.column if combination else operator.storage_name.get(applied.column, applied.column)
    _check_name(applied, domain)
    columns = applied.sources if combination else (domain,)
    keys, found = _vocabulary(applied, domain, columns)
    fitted = columns[0]  # NVTabular's fit asks for the buckets of a combination under the name of its first column
    at_fit = _buckets(operator.num_buckets, fitted)
    hashed = domain == applied.column or isinstance(
        operator.num_buckets, Mapping
    )  # NVTabular's int is no number for joint columns
    buckets = _buckets(operator.num_buckets, applied.column) if hashed else 1
    if buckets > at_fit:
        raise applied.refuse(
            f"hashes into {buckets} buckets, and its vocabulary {domain!r} leaves room for {at_fit}",
            f"Give num_buckets the same number for {applied.column!r} and {fitted!r}.",
        )
    least = OUT_OF_VOCABULARY + (at_fit if hashed else 1)
    # A file that was not numbered behind these buckets, as one that is given to the operator, gives an order alone.
    first = OUT_OF_VOCABULARY + at_fit if found is None else max(found, least)
    lookup = Lookup(domain, columns, keys, first, buckets, np.dtype(operator.output_dtype).name, blank_pads)
    _check_dtype(applied, lookup)
    return lookup


def _buckets(given: int | Mapping[str, int | None] | None, name: str) -> int:
    """Return how many ids there are for what is out of vocabulary."""
    return (given.get(name) if isinstance(given, Mapping) else given) or 1


def _check_name(applied: Applied, domain: str) -> None:
    """Refuse two vocabularies of one name, whose file NVTabular writes twice."""
    separator = applied.operator.name_sep
    names = [separator.join([group] if isinstance(group, str) else group) for group in applied.groups]
    if names.count(domain) > 1:
        raise applied.refuse(f"keeps two vocabularies under the name {domain!r}", "Rename a column, or give another name_sep.")


def _check_dtype(applied: Applied, lookup: Lookup) -> None:
    dtype = np.dtype(lookup.dtype)
    instead = "Leave dtype out: ids are int64."
    if dtype.kind not in "iuf" or lookup.dtype not in DTYPES:
        raise applied.refuse(f"encodes to {lookup.dtype}", instead)
    highest = 2 ** (np.finfo(dtype).nmant + 1) if dtype.kind == "f" else int(np.iinfo(dtype).max)
    if lookup.cardinality - 1 > highest:
        raise applied.refuse(f"has ids up to {lookup.cardinality - 1}, which {lookup.dtype} cannot hold", instead)


def _vocabulary(applied: Applied, domain: str, columns: tuple[str, ...]) -> tuple[Keys, int | None]:
    """Return the vocabulary, and the number of its first key in the file, None where it is empty."""
    path = applied.operator.categories.get(domain)
    if path is None:
        raise RunError(
            f"Feature column {applied.column!r}: its Categorify is not fitted.", "Fit the workflow before compiling it."
        )
    applied.check_file(domain, path)
    try:
        frame, first = read_vocabulary(path, columns)
        return Keys(tuple(frame.get_columns())), first
    except RunError as error:
        raise RunError(f"Feature column {applied.column!r}: its {error.found.removeprefix('The ')}", error.fix) from error
    except NotCompilableError as error:
        raise NotCompilableError(f"Feature column {applied.column!r}: its vocabulary {path}: {error.found}", error.fix) from error
