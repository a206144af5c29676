"""Expressions that replace the Python functions of ``LambdaOp``, compared with them on rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import DataError, ParityError, UsageError
from cartwheel.pipeline.foreign.checking import difference
from workflows.compiler.graph_json import NamedFunction
from workflows.compiler.operators.expression import ExpressionSubstitute
from workflows.compiler.operators.substitute import is_lambda
from workflows.compiler.plan.types import DTYPES, ColumnType
from workflows.compiler.quiet import quiet_nvtabular

_ROWS: Final = 200
_CLOSE: Final = 1e-6


def read_lambdas(workflow: Any, given: Mapping[str, pl.Expr | str]) -> dict[tuple[int, str], ExpressionSubstitute]:
    """Return what stands for each ``LambdaOp``, once it gives the same as its function on rows drawn from small and large numbers.

    A function that ``graph.json`` holds by name is imported for that.

    Args:
        workflow: a fitted ``nvtabular.Workflow``.
        given: column -> a Polars expression, or SQL, over the columns that reach its operator. The column is named as the operator makes
            it or, where several make one of that name, as the workflow calls it at its end.

    Raises:
        UsageError: if no ``LambdaOp`` makes such a column, or a text is no SQL expression.
        NotCompilableError: if an expression reads what does not reach the operator, or lists.
        DataError: if the function itself fails on such rows.
        ParityError: if the two differ; tells the row.
    """
    found = {}
    for column, text in given.items():
        node, made = _maker(workflow, column)
        try:
            expression = pl.sql_expr(text) if isinstance(text, str) else text
        except pl.exceptions.PolarsError as error:
            raise UsageError(
                f"The expression of {column!r}, {text!r}, is not valid SQL ({error}).", "Give an SQL expression."
            ) from error
        if isinstance(node.op.f, NamedFunction):
            node.op.f.trusted = True
        dtype = str(node.output_schema[made].dtype.without_shape.name) if node.op.output_dtype is not None else None
        substitute = ExpressionSubstitute(expression, "string" if dtype == "str" else dtype)
        _check(node, made, substitute)
        found[id(node.op), made] = substitute
    return found


def _maker(workflow: Any, column: str) -> tuple[Any, str]:
    """Return the node of the one ``LambdaOp`` that makes a column, or that one is made of, and what it calls it."""
    found = [(node, column) for node in _lambdas(workflow) if column in node.output_schema.column_names]
    if len(found) != 1 and column in workflow.output_schema.column_names:
        behind = list(_behind(workflow.output_node, column))
        found = behind if len(behind) == 1 else found
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"No LambdaOp makes a column {column!r}.", "Name a column that one makes.")
    raise UsageError(
        f"{len(found)} LambdaOps make a column {column!r}.", "Name what becomes of it, as the workflow calls it at its end."
    )


def _behind(node: Any, column: str) -> Iterator[tuple[Any, str]]:
    """Yield each ``LambdaOp`` next behind a column, with what it calls what the column is made of."""
    if is_lambda(node.op):
        yield node, column
        return
    if getattr(node.op, "is_subgraph", False):
        yield from _behind(node.op.graph.output_node, column)
    for source in (node.column_mapping or {}).get(column, [column]):
        for parent in reversed(node.parents_with_dependencies):  # of two makers of one name NVTabular keeps the later
            if parent.output_schema is not None and source in parent.output_schema.column_names:
                yield from _behind(parent, source)
                break


def _lambdas(workflow: Any) -> Iterator[Any]:
    from merlin.dag.node import iter_nodes

    waiting = [workflow.output_node]
    while waiting:
        for node in iter_nodes([waiting.pop()]):
            if getattr(node.op, "is_subgraph", False):
                waiting.append(node.op.graph.output_node)
            elif is_lambda(node.op):
                yield node


def _check(node: Any, column: str, substitute: ExpressionSubstitute) -> None:
    types = {}
    for each in node.input_schema:
        kind = str(each.dtype.without_shape.name)
        kind = "string" if kind in ("str", "object") else kind
        if kind in DTYPES:
            types[each.name] = ColumnType(kind, bool(each.is_list))
    made = substitute.made(column, types)
    step = made.steps[0]
    result = step.result([types[name] for name in made.sources])
    rows = _drawn({name: types[name] for name in types if not types[name].is_list})
    with quiet_nvtabular():
        try:
            selected = node.input_columns.resolve(node.input_schema)
            expected = node.op.transform(selected, rows.to_pandas())[column]
        except Exception as error:  # whatever the function meets
            raise DataError(
                f"The Python function of {column!r} fails on rows to check on ({type(error).__name__}: {error}).",
                "Leave the column out.",
            ) from error
    # Floats enter as they do in a plan: NaN is null.
    inputs = [pl.col(name).fill_null(float("nan")) if types[name].is_float else pl.col(name) for name in made.sources]
    found = rows.select(step.polars(inputs, [types[name] for name in made.sources]).alias(column)).to_series()
    wanted = pl.Series(column, expected.tolist(), dtype=result.polars_element, strict=False)
    if result.is_float:
        wanted, found = wanted.fill_null(float("nan")), found.fill_null(float("nan"))
        wrong = (difference(wanted.to_numpy(), found.to_numpy()) > _CLOSE) | (wanted.is_nan() != found.is_nan()).to_numpy()
    else:
        wrong = wanted.ne_missing(found).to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        told = ", ".join(f"{name}={rows[name][row]!r}" for name in made.sources)
        raise ParityError(
            f"The expression of {column!r} gives {found[row]!r} for {told}, and its Python function {wanted[row]!r}.",
            "Write the expression so that both agree, also where a number is missing.",
        )


def _drawn(types: Mapping[str, ColumnType]) -> pl.DataFrame:
    """Draw rows without missing values, but for floats, of whole and broken numbers, small and large, of either sign."""
    generator = np.random.default_rng(0)
    columns = {}
    for name, kind in types.items():
        if kind.is_string:
            values: list[Any] = generator.choice(["", "a", "b", "A", "value", "0"], _ROWS).tolist()
        elif kind.dtype == "bool":
            values = (generator.random(_ROWS) < 0.5).tolist()
        else:
            numbers = np.where(generator.random(_ROWS) < 0.1, 1000.0, 1.0) * generator.integers(-6, 21, _ROWS)
            if kind.is_float:
                numbers = np.where(generator.random(_ROWS) < 0.1, np.nan, numbers + generator.choice([0.0, 0.5], _ROWS))
                values = [None if number != number else number for number in numbers.tolist()]
            else:
                bounds = np.iinfo(kind.dtype)
                values = np.clip(numbers, bounds.min, min(bounds.max, 2**40)).astype(np.int64).tolist()
        columns[name] = pl.Series(name, values, dtype=kind.polars)
    return pl.DataFrame(columns)
