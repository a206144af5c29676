"""``Filter``: rows that do not meet a condition are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.comparison import COMPARATORS, Both, Comparison, Condition, Either, IsMissing, Not, OneOf
from workflows.compiler.operators.constants import exact
from workflows.compiler.operators.dropna import is_missing
from workflows.compiler.operators.step import RowStep
from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class Meets(RowStep):
    """Keeps the rows that meet ``condition``."""

    condition: Condition

    def inputs(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of the condition.

        Raises:
            NotCompilableError: if one of them does not reach the operator.
        """
        if absent := [name for name in self.condition.columns if name not in available]:
            raise NotCompilableError(
                f"Filter asks for the columns {absent}, and {list(available)} reach it.",
                "Apply it to the columns that it asks for.",
            )
        return self.condition.columns

    def keeps(self, columns: Mapping[str, pl.Expr], types: Mapping[str, ColumnType]) -> pl.Expr:
        """Ask the condition.

        Raises:
            NotCompilableError: if it asks for a list, or for a constant that is no value of the column's type.
        """
        for name, kind in types.items():
            if kind.is_list:
                raise NotCompilableError(f"Filter asks for the lists {name!r}.", "Ask for columns without lists.")
        return _expression(self.condition, columns, types)


def _expression(condition: Condition, columns: Mapping[str, pl.Expr], types: Mapping[str, ColumnType]) -> pl.Expr:
    match condition:
        case Both(left, right):
            return _expression(left, columns, types) & _expression(right, columns, types)
        case Either(left, right):
            return _expression(left, columns, types) | _expression(right, columns, types)
        case Not(inner):
            return ~_expression(inner, columns, types)
        case IsMissing(name):
            return is_missing(columns[name], types[name])
        case Comparison(name, comparator, constant):
            compared: pl.Expr = COMPARATORS[comparator](columns[name], _literal(name, constant, types[name]))
        case OneOf(name, constants):
            compared = pl.any_horizontal(
                pl.lit(False), *(columns[name] == _literal(name, constant, types[name]) for constant in constants)
            )
        case _:
            raise NotCompilableError(
                f"Filter asks a {type(condition).__name__}.", "Build conditions from those of workflows.compiler.comparison."
            )
    return compared.fill_null(False) & ~is_missing(columns[name], types[name])


def _literal(name: str, constant: Any, kind: ColumnType) -> pl.Expr:
    value = exact(constant, kind)
    if value is None:
        raise NotCompilableError(
            f"Filter compares the column {name!r} of type {kind} with {constant!r}.",
            "Compare with a value of the column's type, a whole number where it holds integers.",
        )
    return pl.lit(value, kind.polars_element)


def read_filter(operator: Any) -> RowStep:
    """Read NVTabular's ``Filter``.

    Raises:
        NotCompilableError: if it filters with a Python function.
    """
    if not isinstance(operator.f, Condition):
        raise NotCompilableError(
            f"Filter asks the Python function {getattr(operator.f, '__qualname__', operator.f)!r}, which cannot be read.",
            "Give it a condition of workflows.compiler.comparison, for example Comparison('price', '>=', 0).",
        )
    return Meets(operator.f)
