"""The interface of operators: the step, data with an implementation in both back ends, and its reader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from onnx import TensorProto

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.file_digests import written_over
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.plan.types import ColumnType

Array = npt.NDArray[Any]

FLOAT32: Final = int(TensorProto.FLOAT)
FLOAT64: Final = int(TensorProto.DOUBLE)
INT32: Final = int(TensorProto.INT32)
INT64: Final = int(TensorProto.INT64)


@dataclass(frozen=True)
class Value:
    """A column inside an ONNX graph: ``[B, 1]``, or ``[B, L]`` for a list.

    Attributes:
        name: its name in the graph.
        type: its type.
        missing: a bool tensor of the same shape that is true where the value is null, or None where no value is; None for floats, in
            which NaN is null. What ``name`` holds where it is true does not matter.
        lengths: int64 ``[B, 1]``, how many of the L slots of each row are elements, or None where all are. What a slot beyond them
            holds does not matter: whatever leaves the graph is set to 0 or ``""`` there.
    """

    name: str
    type: ColumnType
    missing: str | None = None
    lengths: str | None = None

    def becomes(self, name: str, dtype: str | None = None, **changes: Any) -> Value:
        """Return the value after a node: a new name, a new element type where it changed, and other ``changes``."""
        return replace(self, name=name, type=self.type.of(dtype or self.type.dtype), **changes)


class Step(ABC):
    """One fitted operator applied to one or more columns: frozen data that can say itself in both back ends.

    Both back ends must give equal integers, equal nulls, and floats within 1e-6; both follow IEEE arithmetic, with NaN for what is
    missing in floats.
    """

    @property
    def offset(self) -> float:
        """The constant that the step adds or subtracts, in units of its result: what is left after it is exact relative to this."""
        return 0.0

    @property
    def is_exact(self) -> bool:
        """Whether every executor gives the same bits for the same input, NVTabular on every processor included."""
        return True

    @property
    def hashes(self) -> bool:
        """Whether the last bit of a float decides what it becomes, wherever the float lies."""
        return False

    @abstractmethod
    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type of the result for inputs of ``types``.

        Raises:
            NotCompilableError: if the step does not apply to such columns.
        """

    @abstractmethod
    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add the nodes of the step to ``builder``.

        Args:
            builder: the graph.
            values: the inputs, of types that ``result`` accepts.

        Returns:
            The result, of the type that ``result`` says.

        Raises:
            NotCompilableError: if the step works on tables only.
        """

    @abstractmethod
    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Return the step as an expression.

        Args:
            columns: the inputs. Missing floats are NaN; other types have nulls; lists themselves are never null.
            types: their types.

        Returns:
            An expression of the type that ``result`` says, under the same conventions.
        """


class RowStep(ABC):
    """An operator that drops rows: it works on tables, and a request has no such thing."""

    @abstractmethod
    def keeps(self, columns: Mapping[str, pl.Expr], types: Mapping[str, ColumnType]) -> pl.Expr:
        """Return a boolean expression, never null, that is true for the rows that stay.

        Args:
            columns: the columns that ``inputs`` names, under the conventions of ``Step.polars``.
            types: their types.
        """

    @abstractmethod
    def inputs(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the columns that decide, out of those ``available``."""


@dataclass(frozen=True)
class Applied:
    """An operator of a fitted graph, seen from one of the columns that it makes.

    Attributes:
        operator: the NVTabular operator.
        column: the output column.
        sources: the input columns that NVTabular says it is made from.
        available: every column that reaches the operator, with its type.
        groups: the operator's selection: a name for a column by itself, a tuple of names for a group.
        fitting: whether what comes out is what later operators are fitted on, and not what is served.
        grouped_by: the columns that a later ``Groupby`` groups by, where all others come as a list a group; None where nothing is grouped.
    """

    operator: Any
    column: str
    sources: tuple[str, ...]
    available: Mapping[str, ColumnType]
    groups: tuple[str | tuple[str, ...], ...] = ()
    fitting: bool = False
    grouped_by: frozenset[str] | None = None

    @property
    def kind(self) -> str:
        """The name by which the operator is known: its class, or ``LambdaOp`` for what Merlin calls ``UDF``."""
        name = type(self.operator).__name__
        return "LambdaOp" if name == "UDF" else name

    @property
    def type(self) -> ColumnType:
        """The type of the one column that this one is made from.

        Raises:
            NotCompilableError: if it is made from several.
        """
        if len(self.sources) != 1:
            raise self.refuse(f"makes one column of {list(self.sources)}", "Use operators that make a column of one column.")
        return self.available[self.sources[0]]

    def check_file(self, name: str, path: str | Path) -> None:
        """Check that a file still holds what the operator was fitted with.

        Raises:
            RunError: if another fit wrote over it.
        """
        if written_over(self.operator, name, Path(path)):
            raise RunError(
                f"Feature column {self.column!r}: the file {path} of its {self.kind} does not hold what it was fitted with, so another "
                "fit has written over it.",
                "Fit it again, and give each fit an out_path of its own, as fit_workflow does.",
            )

    def refuse(self, why: str, instead: str) -> NotCompilableError:
        """Return the error that says why this operator has no compiled form here, and what to use instead."""
        return NotCompilableError(f"Feature column {self.column!r}: the operator {self.kind} {why}.", instead)


@dataclass(frozen=True)
class Made:
    """How an operator makes a column: the steps in turn, and the columns that the first of them takes.

    Attributes:
        steps: none where the operator leaves values alone.
        sources: names of columns that reach the operator; the first step takes them all, and those after it one value.
        by_row: whether the first step takes the number of the row as well, before them.
    """

    steps: tuple[Step, ...]
    sources: tuple[str, ...]
    by_row: bool = False


Reader = Callable[[Applied], Made]
"""Reads how a fitted operator makes one column; raises NotCompilableError."""

RowReader = Callable[[Any], RowStep | None]
"""Reads a fitted operator that may drop rows, None where this one does not; raises NotCompilableError."""


def one(applied: Applied, *steps: Step) -> Made:
    """Return that ``steps`` make the column of its one source.

    Raises:
        NotCompilableError: if it has several.
    """
    assert applied.type is not None  # raises where there are several sources
    return Made(steps, applied.sources)


def elementwise(column: pl.Expr, kind: ColumnType, change: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """Apply ``change`` to each value of a column, or to each element of each of its lists."""
    return column.list.eval(change(pl.element())) if kind.is_list else change(column)


def conventional(column: pl.Expr, kind: ColumnType) -> pl.Expr:
    """Bring a column to the conventions of ``Step.polars``: the type of the plan, missing floats NaN, and no list null."""
    column = column.cast(kind.polars)
    if kind.is_list:
        column = column.fill_null(pl.lit([], dtype=kind.polars))
    return elementwise(column, kind, lambda element: element.fill_null(float("nan"))) if kind.is_float else column


def to_float(builder: GraphBuilder, value: Value, dtype: str) -> Value:
    """Return numbers as floats of ``dtype``, in which what is missing is NaN."""
    kind = value.type.of(dtype)
    name = value.name if kind == value.type else builder.add("Cast", value.name, to=kind.onnx)
    if value.missing is not None:
        name = builder.add("Where", value.missing, builder.constant(np.nan, kind.numpy), name)
    return value.becomes(name, dtype, missing=None)


def float_element(element: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return numbers as floats of ``dtype``, in which what is missing is NaN."""
    return element.cast(dtype).fill_null(float("nan"))


def operand(builder: GraphBuilder, number: float, beside: Value) -> str:
    """Return a constant that floats are combined with.

    ONNX Runtime leaves out what is added or subtracted, and multiplied with or divided by, where rounded to float32 it is 0 or 1, also of
    float64 and of -0; and it turns 1 / x * y into y / x. Either changes last bits, so such a constant is made to look like none.
    """
    constant = builder.constant(number, beside.type.numpy)
    with np.errstate(over="ignore"):
        plain = np.float32(number) not in (0.0, 1.0)
    return constant if plain else builder.add("Where", builder.add("IsNaN", beside.name), constant, constant)


def by_numpy(number: pl.Expr, change: Callable[[Array], Array], dtype: pl.DataType) -> pl.Expr:
    """Return what NumPy makes of floats of ``dtype``, none of them null: arithmetic with constants, whose last bits must be IEEE's.

    Polars divides by a constant by multiplying with its reciprocal, which rounds twice: a third or more of the quotients have another last
    bit than in NVTabular and ONNX, and what is discretised afterwards may lie in another bucket. Nor does it add or subtract a zero, which
    makes 0 of -0, and a hash tells these apart.
    """

    def changed(batch: pl.Series) -> pl.Series:
        with np.errstate(all="ignore"):
            return pl.Series(batch.name, change(batch.to_numpy()))

    return number.map_batches(changed, return_dtype=dtype, is_elementwise=True)


def require_number(types: Sequence[ColumnType], operator: str, *, booleans: bool = False) -> None:
    """Refuse strings and, unless ``booleans`` count as 0 and 1, booleans.

    Raises:
        NotCompilableError: if one of ``types`` is no number.
    """
    for kind in types:
        if not kind.is_number and not (booleans and kind.dtype == "bool"):
            kinds = "strings" if kind.is_string else "booleans"
            raise NotCompilableError(f"The operator {operator} is applied to {kinds}.", "Put Categorify before it.")
