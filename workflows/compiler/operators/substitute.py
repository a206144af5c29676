"""Replacement of a ``LambdaOp``, whose Python function cannot be compiled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from workflows.compiler.operators.step import Made
from workflows.compiler.plan.types import ColumnType

_LAMBDAS: Final = frozenset({"LambdaOp", "UDF"})


class Substitute(ABC):
    """Makes a column of those that reach a ``LambdaOp``."""

    @abstractmethod
    def made(self, column: str, available: Mapping[str, ColumnType]) -> Made:
        """Return how the column is made.

        Args:
            column: its name.
            available: the columns that reach the operator, with their types.

        Raises:
            NotCompilableError: if it cannot be made of them.
        """


Substitutes: TypeAlias = Mapping[tuple[int, str], Substitute]
"""By the address of the operator and the column that it makes: several functions may make columns of one name, which are renamed later."""


def is_lambda(operator: Any) -> bool:
    """Whether an operator is a Python function."""
    return type(operator).__name__ in _LAMBDAS
