"""At which place a value, or a tuple of values, stands among the keys of a fitted table: the first half of every lookup.

ONNX: ``LabelEncoder`` (ai.onnx.ml). Polars, each the fastest of those measured with 5 million rows and a million keys: a cast to an
enumeration for strings, a gather for integers that lie close together, and ``replace_strict``, a hash join, for other integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.file_digests import content_digest
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.step import FLOAT64, INT64, Step, Value, elementwise
from workflows.compiler.plan.types import ColumnType, from_polars

ABSENT: Final = -1
_END: Final = 2.0**63  # the first float above every int64
_LOOSE: Final = 4  # integers are gathered from a table of at most so many places a key


@dataclass(frozen=True)
class Keys(Step):
    """Finds the place of a key: 0 for the first key, and so on; -1 for what is no key.

    Null, NaN in floats, is a key where ``columns`` hold one, and otherwise none. Floats are looked up among integers by their exact
    value, as pandas turns integers with nulls among them to floats. A key of one column may be looked up by the elements of lists.

    Attributes:
        columns: the keys in order, one series for each column of a key, all of one length: strings, or integers, or floats that are whole
            numbers. They are held as String or Int64.
        digest: SHA-256 of the keys, by which two steps are told apart.

    Raises:
        NotCompilableError: if a key stands twice, or keys are neither strings nor integers of 64 bits.
    """

    columns: tuple[pl.Series, ...] = field(compare=False, repr=False)
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        columns = tuple(_tidy(series).alias(str(place)) for place, series in enumerate(self.columns))
        frame = pl.DataFrame(columns)
        if frame.height != (columns[0].n_unique() if len(columns) == 1 else frame.n_unique()):
            twice = frame.filter(frame.is_duplicated()).row(0)
            raise NotCompilableError(f"The key {twice if len(twice) > 1 else twice[0]!r} stands twice.", "Keep each key once.")
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "digest", content_digest(columns))

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self.columns[0])

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return int64."""
        for series, kind in zip(self.columns, types, strict=True):
            if kind.is_list and len(types) > 1:
                raise NotCompilableError("A list is one of several columns of a key.", "Look up lists by themselves.")
            if series.null_count() < len(series) and kind.is_string != (series.dtype == pl.String):
                kinds = ("strings", "integers") if kind.is_string else (f"values of type {kind.dtype}", "strings")
                raise NotCompilableError(f"{kinds[0]} are looked up among {kinds[1]}.".capitalize(), "Cast one of the two.")
        return types[0].of("int64")

    def onnx(self, builder: GraphBuilder, values: Sequence[Value], *, first: int = 0, unknown: int = ABSENT) -> Value:
        """Add one ``LabelEncoder`` a column, and for several columns one more a column for the pairs.

        Args:
            builder: the graph.
            values: one for each column of the keys.
            first: the number of the first key, instead of 0.
            unknown: the number of what is no key, instead of -1.

        Returns:
            The numbers, never missing.
        """
        if len(self.columns) == 1:
            return self._label(builder, values[0], first, unknown)
        head, tail, pairs = self._folded
        left, right = head.onnx(builder, values[:-1]).name, tail.onnx(builder, values[-1:]).name
        zero = builder.constant(0, np.int64)
        code = builder.add("Add", builder.add("Mul", left, builder.constant(len(tail), np.int64)), right)
        absent = builder.add("Less", builder.add("Min", left, right), zero)
        code = builder.add("Where", absent, builder.constant(ABSENT, np.int64), code)
        return pairs.onnx(builder, [values[0].becomes(code, "int64", missing=None)], first=first, unknown=unknown)

    def polars(
        self, columns: Sequence[pl.Expr], types: Sequence[ColumnType], *, first: int = 0, unknown: int = ABSENT
    ) -> pl.Expr:
        """Return the numbers of values or of the elements of lists; for the arguments see ``onnx``."""
        if not types[0].is_list:
            return self.places(columns, types, first=first, unknown=unknown)
        return elementwise(columns[0], types[0], lambda element: self.places([element], types, first=first, unknown=unknown))

    def places(
        self, elements: Sequence[pl.Expr], types: Sequence[ColumnType], *, first: int = 0, unknown: int = ABSENT
    ) -> pl.Expr:
        """Return what ``polars`` returns, for elements: inside of ``list.eval`` where ``types`` are lists."""
        return self._number(elements, types, first).fill_null(unknown)

    @cached_property
    def _null(self) -> int | None:
        """The place of null among the keys of one column."""
        series = self.columns[0]
        return series.is_null().arg_max() if series.null_count() else None

    @cached_property
    def _known(self) -> tuple[pl.Series, npt.NDArray[np.int64]]:
        """The keys of one column without null, and their places."""
        series = self.columns[0]
        return series.drop_nulls(), np.flatnonzero(series.is_not_null().to_numpy()).astype(np.int64)

    @cached_property
    def _enumeration(self) -> pl.Enum:
        """The keys of one column of strings as a type, kept because making it is slow where they are many."""
        return pl.Enum(self._known[0])

    @cached_property
    def _close(self) -> tuple[int, pl.Series] | None:
        """The lowest key and, from it on, the place of each integer, null where it is no key, also behind the last.

        None where keys lie far apart.
        """
        keys, places = self._known
        if not len(keys):
            return None
        low, high = cast("int", keys.min()), cast("int", keys.max())
        if high - low >= _LOOSE * len(keys):
            return None
        table = np.full(high - low + 2, ABSENT, dtype=np.int64)
        table[keys.to_numpy() - low] = places
        stored = pl.Series("place", table)
        return low, stored.to_frame().select(pl.when(pl.col("place") >= 0).then("place")).to_series()

    @cached_property
    def _folded(self) -> tuple[Keys, Keys, Keys]:
        """Keys of several columns as pairs: of the place among all columns but the last, and the place in the last.

        A pair is one integer, below the square of the number of keys, so that int64 holds it whatever the number of columns.
        """
        frame = pl.DataFrame(self.columns)
        types = [from_polars(series.dtype) for series in self.columns]
        head = Keys(tuple(frame.select(frame.columns[:-1]).unique(maintain_order=True).get_columns()))
        tail = Keys((self.columns[-1].unique(maintain_order=True),))
        columns = [pl.col(name) for name in frame.columns]
        left, right = head.polars(columns[:-1], types[:-1]), tail.polars(columns[-1:], types[-1:])
        return head, tail, Keys((frame.select(left * len(tail) + right).to_series(),))

    def _label(self, builder: GraphBuilder, value: Value, first: int, unknown: int) -> Value:
        keys, places = self._known
        found: list[Any] = keys.to_list()
        numbers: list[int] = (places + first).tolist()
        if not found:  # a LabelEncoder needs a key
            found, numbers = ["" if value.type.is_string else 0], [unknown]
        name, possible = value.name, None
        if not value.type.is_string:
            name, possible = _as_int64(builder, value)
        attribute = "keys_strings" if value.type.is_string else "keys_int64s"
        number = builder.add(
            "LabelEncoder", name, domain="ai.onnx.ml", values_int64s=numbers, default_int64=unknown, **{attribute: found}
        )
        if possible is not None:
            number = builder.add("Where", possible, number, builder.constant(unknown, np.int64))
        null = unknown if self._null is None else first + self._null
        absent = None if value.type.is_float and null == unknown else missing_onnx(builder, value)  # NaN is no integer anyway
        if absent is not None:
            number = builder.add("Where", absent, builder.constant(null, np.int64), number)
        return value.becomes(number, "int64", missing=None)

    def _number(self, elements: Sequence[pl.Expr], types: Sequence[ColumnType], first: int) -> pl.Expr:
        """Return the numbers of keys, null for what is none; an element that may be a long expression stands in the result once."""
        if len(self.columns) == 1:
            return self._number_of_one(elements[0], types[0], first)
        head, tail, pairs = self._folded
        left, right = head._number(elements[:-1], types[:-1], 0), tail._number(elements[-1:], types[-1:], 0)
        return pairs._number_known(left * len(tail) + right, ColumnType("int64"), first)

    def _number_of_one(self, element: pl.Expr, kind: ColumnType, first: int) -> pl.Expr:
        number = self._number_known(element, kind, first)
        return number if self._null is None else pl.when(missing(element, kind)).then(first + self._null).otherwise(number)

    def _number_known(self, element: pl.Expr, kind: ColumnType, first: int) -> pl.Expr:
        """Return the numbers of the keys of one column but of null, which gives null."""
        keys, places = self._known
        if not len(keys):
            return pl.when(element.is_null()).then(pl.lit(None, pl.Int64))  # as long as the column
        if kind.is_string:
            place = element.cast(self._enumeration, strict=False).to_physical().cast(pl.Int64)
            return place + (first if self._null is None else first + (place >= self._null).cast(pl.Int64))
        whole = _whole(element, kind)
        if self._close is None or kind.is_list:  # list.eval has no gather from a table outside
            return whole.replace_strict(keys, pl.Series(places + first), default=None, return_dtype=pl.Int64)
        low, table = self._close
        # The difference wraps around, which keeps integers apart; the place behind the last key, which is also that of -1, holds null.
        return gather(table, (whole - low).clip(-1, len(table) - 1)) + first


def gather(table: pl.Series, places: pl.Expr) -> pl.Expr:
    """Return the values of ``table`` at ``places``, counted from the end where they are negative; null where a place is null.

    ``pl.lit(table).gather(places)`` would say the same, but not that each row stands for itself: the streaming engine splits the stream
    around it and holds back one branch, so that memory grows with the table that is encoded.
    """

    def taken(batch: pl.Series) -> pl.Series:
        return table.gather(batch)

    return places.map_batches(taken, return_dtype=table.dtype, is_elementwise=True)


def missing(element: pl.Expr, kind: ColumnType) -> pl.Expr:
    """Return where an element of the plan is missing: NaN in floats, null otherwise."""
    return element.is_nan() if kind.is_float else element.is_null()


def missing_onnx(builder: GraphBuilder, value: Value) -> str | None:
    """Return a bool tensor that is true where a value is missing, or None where it never is."""
    return builder.add("IsNaN", value.name) if value.type.is_float else value.missing


def _whole(element: pl.Expr, kind: ColumnType) -> pl.Expr:
    """Return numbers as int64, null where they are none."""
    whole = element.cast(pl.Int64, strict=False)  # null for what int64 does not hold
    if not kind.is_float:
        return whole
    return pl.when(element.is_finite() & (element.floor() == element)).then(whole)


def _as_int64(builder: GraphBuilder, value: Value) -> tuple[str, str | None]:
    """Return numbers as int64 and, where some of ``value``'s type are none, a bool tensor that is true for those that are."""
    if value.type.dtype == "uint64":
        name = builder.add("Cast", value.name, to=INT64)  # above int64 it is negative
        return name, builder.add("GreaterOrEqual", name, builder.constant(0, np.int64))
    if not value.type.is_float:
        return (value.name if value.type.dtype == "int64" else builder.add("Cast", value.name, to=INT64)), None
    number = value.name if value.type.dtype == "float64" else builder.add("Cast", value.name, to=FLOAT64)
    tests = [
        builder.add("Equal", number, builder.add("Floor", number)),
        builder.add("GreaterOrEqual", number, builder.constant(-_END, np.float64)),
        builder.add("Less", number, builder.constant(_END, np.float64)),
    ]
    possible = reduce(lambda left, right: builder.add("And", left, right), tests)
    fitting = builder.add("Where", possible, number, builder.constant(0.0, np.float64))
    return builder.add("Cast", fitting, to=INT64), possible


def _tidy(series: pl.Series) -> pl.Series:
    """Bring keys to String or Int64, with null for NaN."""
    if isinstance(series.dtype, (pl.String, pl.Categorical, pl.Enum)):
        return series.cast(pl.String)
    if series.dtype.is_float():
        series = series.fill_nan(None)
        known = series.drop_nulls()
        if not (known.is_finite() & (known.floor() == known)).all():
            raise NotCompilableError(
                "Keys are floats that are no whole numbers, so that rounding decides what is equal.",
                "Use strings or integers as keys; Bucketize makes integers of floats.",
            )
    if not (series.dtype.is_integer() or series.dtype.is_float() or series.dtype in (pl.Boolean, pl.Null)):
        raise NotCompilableError(f"Keys are of type {series.dtype}.", "Use strings or integers as keys.")
    try:
        return series.cast(pl.Int64)
    except pl.exceptions.InvalidOperationError as error:
        raise NotCompilableError("Keys are integers that int64 does not hold.", "Cast them to strings.") from error
