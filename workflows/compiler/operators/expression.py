"""A Polars expression that replaces a ``LambdaOp``: unchanged on tables, and in ONNX if each part of it compiles exactly.

Inside, null is null, and a missing float is one; comparisons order NaN behind all numbers, as Polars does.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.expression_onnx import translate
from workflows.compiler.operators.step import Made, Step, Value
from workflows.compiler.operators.substitute import Substitute
from workflows.compiler.plan.types import ColumnType, from_polars

_LIST: Final = "Lists have no expression here."


@dataclass(frozen=True)
class Expression(Step):
    """Computes a column by an expression of others.

    Attributes:
        names: what the expression calls its inputs, in their order.
        tree: the expression, as Polars writes it in JSON.
        dtype: type of the result; None for what Polars gives.
    """

    names: tuple[str, ...]
    tree: str
    dtype: str | None = None

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return the type that Polars gives, or ``dtype``."""
        if any(kind.is_list for kind in types):
            raise NotCompilableError(_LIST, "Give the expression columns of single values.")
        kind = from_polars(type_of(self.tree, dict(zip(self.names, types, strict=True))))
        if kind.is_list:
            raise NotCompilableError(_LIST, "Let the expression give one value a row.")
        return kind.of(self.dtype) if self.dtype else kind

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        """Add the nodes of each part.

        Raises:
            NotCompilableError: if a part works on tables alone; names it.
        """
        types = {name: value.type for name, value in zip(self.names, values, strict=True)}
        held = {}
        for name, value in zip(self.names, values, strict=True):
            missing = builder.add("IsNaN", value.name) if value.type.is_float else value.missing
            held[name] = value.becomes(value.name, missing=missing)
        made = translate(builder, json.loads(self.tree), held, lambda part: from_polars(type_of(json.dumps(part), types)).dtype)
        kind = self.result([value.type for value in values])
        name = made.name if made.type == kind else builder.add("Cast", made.name, to=kind.onnx)
        if kind.is_float and made.missing is not None:
            name = builder.add("Where", made.missing, builder.constant(np.nan, kind.numpy), name)
        rows = builder.add("Shape", values[0].name)
        name = builder.add("Expand", name, rows)  # of a constant, one value is there
        return Value(name, kind, missing=None if kind.is_float else made.missing)

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Return the expression over a struct of its inputs."""
        kind = self.result(types)
        fields = [
            (column.fill_nan(None) if each.is_float else column).alias(name)
            for column, each, name in zip(columns, types, self.names, strict=True)
        ]
        tree = self.tree

        def computed(batch: pl.Series) -> pl.Series:
            frame = batch.struct.unnest()
            made = frame.select(read_tree(tree).cast(kind.polars_element).alias("made")).to_series()
            if len(made) == 1 and len(batch) != 1:
                made = made.new_from_index(0, len(batch))
            return (made.fill_null(float("nan")) if kind.is_float else made).alias(batch.name)

        return pl.struct(fields).map_batches(computed, return_dtype=kind.polars_element, is_elementwise=True)


@dataclass(frozen=True)
class ExpressionSubstitute(Substitute):
    """Makes a column by an expression.

    Attributes:
        expression: over the columns that reach the operator.
        dtype: type that the operator is told to give; None for that of the expression.
    """

    expression: pl.Expr
    dtype: str | None = None

    def made(self, column: str, available: Mapping[str, ColumnType]) -> Made:
        """Return the one step.

        Raises:
            NotCompilableError: if the expression reads a column that does not reach the operator, or none.
        """
        names = tuple(dict.fromkeys(self.expression.meta.root_names()))
        if lacking := [name for name in names if name not in available]:
            raise NotCompilableError(
                f"Feature column {column!r}: its expression reads the columns {lacking}, and {sorted(available)} reach its LambdaOp.",
                "Use those.",
            )
        if not names:
            raise NotCompilableError(f"Feature column {column!r}: its expression reads no column.", "Let it read one.")
        return Made((Expression(names, write_tree(self.expression), self.dtype),), names)


def write_tree(expression: pl.Expr) -> str:
    """Return an expression as Polars writes it in JSON."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format may change with Polars: it is written and read by one process
        return expression.meta.serialize(format="json")


def read_tree(tree: str) -> pl.Expr:
    """Return the expression of :func:`write_tree`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Expr.deserialize(StringIO(tree), format="json")


def type_of(tree: str, types: Mapping[str, ColumnType]) -> Any:
    """Return the Polars type of an expression.

    Raises:
        NotCompilableError: if it does not apply to columns of such types.
    """
    frame = pl.LazyFrame(schema={name: kind.polars for name, kind in types.items()})
    try:
        return frame.select(read_tree(tree).alias("made")).collect_schema()["made"]
    except pl.exceptions.PolarsError as error:
        raise NotCompilableError(
            f"An expression does not apply to its columns ({next(iter(str(error).splitlines()), '')}).", "Cast them in it."
        ) from error
