"""What every operator's file shares: the value that flows through a column's chain, and the step that changes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from onnx import TensorProto

from cartwheel.errors import NotCompilableError
from workflows.onnx_graph import GraphBuilder

FLOAT32: Final = int(TensorProto.FLOAT)
FLOAT64: Final = int(TensorProto.DOUBLE)
INT64: Final = int(TensorProto.INT64)


@dataclass(frozen=True)
class Value:
    """A value inside an ONNX graph.

    Attributes:
        name: its name in the graph.
        dtype: ``string``, ``int64`` or ``float32`` (where NaN is null).
        is_list: whether it is ``[B, L]``, filled up with ``""``, and not ``[B, 1]``.
    """

    name: str
    dtype: str
    is_list: bool = False

    def becomes(self, name: str, dtype: str | None = None) -> Value:
        """Return the value after a node: a new name and, where it changed, a new dtype."""
        return replace(self, name=name, dtype=dtype or self.dtype)


class Step(Protocol):
    """One fitted operator applied to one column: pure data that can say itself in ONNX."""

    def onnx(self, builder: GraphBuilder, value: Value) -> Value:
        """Add the operator's nodes to ``builder`` and return what they make of ``value``."""


@dataclass(frozen=True)
class Applied:
    """An operator of a fitted graph, seen from one of the columns that it makes.

    Attributes:
        operator: the NVTabular operator.
        column: the output column.
        sources: the input columns that it is made from.
    """

    operator: Any
    column: str
    sources: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The name by which the operator is known: its class, or ``LambdaOp`` for what Merlin calls ``UDF``."""
        name = type(self.operator).__name__
        return "LambdaOp" if name == "UDF" else name

    def refuse(self, why: str, instead: str) -> NotCompilableError:
        """Return the error that says why this operator has no ONNX form here, and what to use instead."""
        return NotCompilableError(f"Feature column {self.column!r}: the operator {self.kind} {why}.", instead)


Reader = Callable[[Applied], tuple[Step, ...]]
"""Reads a fitted operator into the steps that it takes on one column; raises NotCompilableError."""


def as_float32(builder: GraphBuilder, value: Value) -> str:
    """Return the name of ``value`` cast to float32, or its own name where it is already."""
    return value.name if value.dtype == "float32" else builder.add("Cast", value.name, to=FLOAT32)


def require_number(value: Value, operator: str) -> None:
    """Refuse strings.

    Raises:
        NotCompilableError: if ``value`` is a string.
    """
    if value.dtype == "string":
        raise NotCompilableError(f"The operator {operator} is applied to strings.", "Put Categorify before it.")
