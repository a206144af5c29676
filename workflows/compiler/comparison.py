"""Conditions on rows for NVTabular's ``Filter``, as data that the plan can read where a Python function says nothing.

``Filter(Comparison("price", ">=", 0) & ~OneOf("country", ["US", "CA"]))`` runs under NVTabular itself, and in the compiled plan.
A missing value, NaN or null, meets no comparison, ``!=`` included; ``~`` then keeps it.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import Any, Final

from cartwheel.core.errors import UsageError

COMPARATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)

Constant = str | bool | int | float


class Condition(ABC):
    """What rows are asked; a condition is true or false of every row, and never unknown."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, each once."""

    @abstractmethod
    def __call__(self, frame: Any) -> Any:
        """Return a boolean column, one value a row of a pandas or cuDF frame."""

    def __and__(self, other: Condition) -> Condition:
        """Return that both hold."""
        return Both(self, other)

    def __or__(self, other: Condition) -> Condition:
        """Return that at least one holds."""
        return Either(self, other)

    def __invert__(self) -> Condition:
        """Return that it does not hold."""
        return Not(self)


@dataclass(frozen=True)
class Comparison(Condition):
    """A column compared with a constant.

    Attributes:
        column: name of the column.
        comparator: one of ``==``, ``!=``, ``<``, ``<=``, ``>`` and ``>=``.
        constant: what its values are compared with.
    """

    column: str
    comparator: str
    constant: Constant

    def __post_init__(self) -> None:
        if self.comparator not in COMPARATORS:
            raise UsageError(
                f"Comparison does not support the comparator {self.comparator!r}.", f"Use one of {', '.join(COMPARATORS)}."
            )
        _check_constant(self.constant)

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def __call__(self, frame: Any) -> Any:
        """Compare what is there."""
        values = frame[self.column]
        known = values.notna()
        if values.dtype == object:  # of strings pandas refuses to compare None
            values = values.where(known, self.constant)
        return (known & COMPARATORS[self.comparator](values, self.constant)).astype(bool)


@dataclass(frozen=True)
class OneOf(Condition):
    """A column that holds one of some constants, given as any collection.

    Attributes:
        column: name of the column.
        constants: the constants.
    """

    column: str
    constants: tuple[Constant, ...]

    def __init__(self, column: str, constants: Iterable[Constant]) -> None:
        if isinstance(constants, str):
            raise UsageError(f"OneOf is given the string {constants!r}.", "Give it a list of constants.")
        object.__setattr__(self, "column", column)
        object.__setattr__(self, "constants", tuple(constants))
        for constant in self.constants:
            _check_constant(constant)

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def __call__(self, frame: Any) -> Any:
        """Compare with each."""
        nowhere = frame[self.column].notna() & False
        return reduce(operator.or_, (Comparison(self.column, "==", constant)(frame) for constant in self.constants), nowhere)


@dataclass(frozen=True)
class IsMissing(Condition):
    """A column that is NaN or null.

    Attributes:
        column: name of the column.
    """

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def __call__(self, frame: Any) -> Any:
        """Ask for NaN and null."""
        return frame[self.column].isna()


@dataclass(frozen=True)
class _Pair(Condition):
    """Two conditions."""

    left: Condition
    right: Condition

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of both."""
        return tuple(dict.fromkeys(self.left.columns + self.right.columns))


@dataclass(frozen=True)
class Both(_Pair):
    """Two conditions that both hold."""

    def __call__(self, frame: Any) -> Any:
        """Ask both."""
        return self.left(frame) & self.right(frame)


@dataclass(frozen=True)
class Either(_Pair):
    """Two conditions of which at least one holds."""

    def __call__(self, frame: Any) -> Any:
        """Ask both."""
        return self.left(frame) | self.right(frame)


@dataclass(frozen=True)
class Not(Condition):
    """A condition that does not hold."""

    condition: Condition

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the condition."""
        return self.condition.columns

    def __call__(self, frame: Any) -> Any:
        """Ask the condition."""
        return ~self.condition(frame)


def _check_constant(constant: Any) -> None:
    if not isinstance(constant, (str, bool, int, float)) or constant != constant:
        raise UsageError(
            f"A condition compares with {constant!r}.", "Compare with a string, a number or a boolean; ask IsMissing for NaN."
        )
