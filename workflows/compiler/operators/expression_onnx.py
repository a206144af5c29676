"""Compiles a Polars expression to ONNX, part by part; unsupported parts are named in the error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.step import Value
from workflows.compiler.plan.types import DTYPES, ColumnType

TypeOf = Callable[[Any], str]
"""Part of an expression -> the element type that Polars gives it."""
_ARITHMETIC: Final = {"Plus": "Add", "Minus": "Sub", "Multiply": "Mul", "TrueDivide": "Div"}
_COMPARISONS: Final = {
    "Gt": "Greater",
    "GtEq": "GreaterOrEqual",
    "Lt": "Less",
    "LtEq": "LessOrEqual",
    "Eq": "Equal",
    "NotEq": "Equal",
}
_SINGLE: Final = {"Abs": "Abs", "Floor": "Floor", "Ceil": "Ceil"}
_INSTEAD: Final = (
    "Use arithmetic, comparisons of numbers, AND, OR, NOT, CASE, CAST, COALESCE, IS NULL, ABS, FLOOR and CEIL, "
    "or leave the column out of requests."
)


def translate(builder: GraphBuilder, part: Any, columns: Mapping[str, Value], type_of: TypeOf) -> Value:
    """Add the nodes of a part of an expression.

    Args:
        builder: the graph.
        part: as Polars writes it in JSON.
        columns: what it calls its inputs -> their values, where what is missing is told also of floats.
        type_of: gives the types of parts.

    Raises:
        NotCompilableError: if it has no exact ONNX form.
    """
    return _Translation(builder, columns, type_of).of(part)


class _Translation:
    def __init__(self, builder: GraphBuilder, columns: Mapping[str, Value], type_of: TypeOf) -> None:
        self._builder, self._columns, self._type_of = builder, columns, type_of
        self._literals: dict[str, Any] = {}

    def of(self, part: Any) -> Value:
        [(kind, content)] = part.items()
        made: Callable[[Any, Any], Value] | None = {
            "Column": lambda name, _: self._columns[name],
            "Literal": lambda literal, _: self._literal(literal),
            "BinaryExpr": lambda binary, whole: self._binary(
                binary["op"], self.of(binary["left"]), self.of(binary["right"]), whole
            ),
            "Cast": lambda cast, whole: self._cast(self.of(cast["expr"]), self._type_of(whole)),
            "Ternary": self._ternary,
            "Alias": lambda alias, _: self.of(alias[0]),
            "Function": lambda function, whole: self._function(function, whole),
        }.get(kind)
        if made is None:
            raise _refused(kind)
        return made(content, part)

    def _ternary(self, ternary: Mapping[str, Any], whole: Any) -> Value:
        return self._chosen(*[self.of(ternary[name]) for name in ("predicate", "truthy", "falsy")], whole=whole)

    def _literal(self, literal: Any) -> Value:
        [(how, content)] = literal.items()
        if how == "Dyn":
            [(kind, value)] = content.items()
            dtype = {"Int": "int64", "Float": "float64", "Str": "string"}.get(kind)
        else:
            if how != "Scalar" or not isinstance(content, Mapping):
                raise _refused("a literal of this kind")
            [(kind, value)] = content.items()
            dtype = {"Boolean": "bool", "String": "string", "StringOwned": "string"}.get(kind, str(kind).lower())
        if dtype not in DTYPES:
            raise _refused(f"a literal of type {kind}")
        constant = self._builder.constant([[value]]) if dtype == "string" else self._builder.constant([[value]], np.dtype(dtype))
        self._literals[constant] = value
        return Value(constant, ColumnType(dtype))

    def _binary(self, operation: str, left: Value, right: Value, whole: Any) -> Value:
        if operation in ("And", "Or", "LogicalAnd", "LogicalOr") and left.type.dtype == right.type.dtype == "bool":
            return self._logical("And" if operation.endswith("And") else "Or", left, right)
        if operation in _COMPARISONS:
            return self._compared(operation, left, right)
        dtype = self._type_of(whole)
        if operation in _ARITHMETIC and ColumnType(dtype).is_number and "string" not in (left.type.dtype, right.type.dtype):
            sides = [self._cast(side, dtype).name for side in (left, right)]
            made = self._builder.add(_ARITHMETIC[operation], *sides)
            return Value(made, ColumnType(dtype), missing=self._either(left.missing, right.missing))
        raise _refused(f"{operation} of {left.type} and {right.type}")

    def _compared(self, operation: str, left: Value, right: Value) -> Value:
        missing = self._either(left.missing, right.missing)
        if "string" in (left.type.dtype, right.type.dtype):
            raise _refused("a comparison of texts")
        dtype = "float64" if left.type.is_float or right.type.is_float else "int64"
        if "uint64" in (left.type.dtype, right.type.dtype):
            raise _refused("a comparison of uint64")
        sides = [self._cast(side, dtype).name for side in (left, right)]
        made = self._builder.add(_COMPARISONS[operation], *sides)
        if dtype == "float64":
            made = self._with_nan(operation, made, *(self._builder.add("IsNaN", side) for side in sides))
        if operation == "NotEq":
            made = self._builder.add("Not", made)
        return Value(made, ColumnType("bool"), missing=missing)

    def _with_nan(self, operation: str, made: str, left: str, right: str) -> str:
        """Return a comparison in which NaN equals NaN and is greater than all numbers."""
        add = self._builder.add
        both = add("And", left, right)
        if operation in ("Eq", "NotEq"):
            return add("Or", made, both)
        greater, strict = operation.startswith("Gt"), operation in ("Gt", "Lt")
        more, less = (left, right) if greater else (right, left)
        made = add("Or", made, add("And", more, add("Not", less)))
        return made if strict else add("Or", made, both)

    def _logical(self, operation: str, left: Value, right: Value) -> Value:
        """Return AND and OR of three values: false AND null is false, true OR null is true, and else null stays null."""
        add = self._builder.add
        made = add(operation, left.name, right.name)
        missing = self._either(left.missing, right.missing)
        if missing is not None:
            decided = [
                side.name if operation == "Or" else add("Not", side.name) for side in (left, right)
            ]  # what decides by itself, where it is not missing
            for side, decides in zip((left, right), decided, strict=True):
                known = decides if side.missing is None else add("And", decides, add("Not", side.missing))
                missing = add("And", missing, add("Not", known))
                fixed = self._builder.constant([[operation == "Or"]], np.bool_)
                made = self._builder.where(known, fixed, made, "bool")
        return Value(made, ColumnType("bool"), missing=missing)

    def _chosen(self, predicate: Value, truthy: Value, falsy: Value, *, whole: Any) -> Value:
        dtype = self._type_of(whole)
        condition = predicate.name
        if predicate.missing is not None:
            condition = self._builder.add("And", condition, self._builder.add("Not", predicate.missing))
        made = self._builder.where(condition, self._cast(truthy, dtype).name, self._cast(falsy, dtype).name, dtype)
        missing = None
        if truthy.missing is not None or falsy.missing is not None:
            never = self._builder.constant([[False]], np.bool_)
            missing = self._builder.where(condition, truthy.missing or never, falsy.missing or never, "bool")
        return Value(made, ColumnType(dtype), missing=missing)

    def _function(self, function: Mapping[str, Any], whole: Any) -> Value:
        given, name = [self.of(each) for each in function["input"]], function["function"]
        if isinstance(name, str) and name in _SINGLE and given[0].type.is_number:
            dtype = self._type_of(whole)
            if given[0].type.is_integer and name != "Abs":
                return given[0]
            return Value(self._builder.add(_SINGLE[name], given[0].name), ColumnType(dtype), missing=given[0].missing)
        if name in ("FillNull", "Coalesce"):
            return self._filled(given, self._type_of(whole))
        if isinstance(name, Mapping) and isinstance(name.get("Boolean"), str):
            return self._asked(name["Boolean"], given[0])
        raise _refused(name if isinstance(name, str) else "/".join(map(str, next(iter(name.items())))))

    def _filled(self, given: list[Value], dtype: str) -> Value:
        found = self._cast(given[-1], dtype)
        for each in reversed(given[:-1]):
            value = self._cast(each, dtype)
            if each.missing is None:
                found = value
                continue
            missing = None if found.missing is None else self._builder.add("And", each.missing, found.missing)
            found = Value(self._builder.where(each.missing, found.name, value.name, dtype), ColumnType(dtype), missing=missing)
        return found

    def _asked(self, question: str, value: Value) -> Value:
        boolean = ColumnType("bool")
        none = value.missing or self._builder.constant([[False]], np.bool_)
        if question == "Not" and value.type.dtype == "bool":
            return Value(self._builder.add("Not", value.name), boolean, missing=value.missing)
        if question == "IsNull":
            return Value(none, boolean)
        if question == "IsNotNull":
            return Value(self._builder.add("Not", none), boolean)
        raise _refused(question)

    def _cast(self, value: Value, dtype: str) -> Value:
        if value.type.dtype == dtype:
            return value
        literal = self._literals.get(value.name)
        if isinstance(literal, (int, float)) and ColumnType(dtype).is_number and np.array(literal).astype(dtype) == literal:
            return Value(self._builder.constant([[literal]], np.dtype(dtype)), ColumnType(dtype))
        narrows = value.type.is_float and dtype != "float64" and not dtype.startswith("float")
        wide, small = (np.dtype(each) if each != "string" else None for each in (value.type.dtype, dtype))
        if wide is None or small is None or narrows or (dtype == "bool" and value.type.is_float):
            raise _refused(f"a cast of {value.type} to {dtype}")
        if value.type.is_integer and "int" in dtype and not np.can_cast(wide, small, "safe"):
            raise _refused(f"a cast of {value.type} to {dtype}")
        made = self._builder.add("Cast", value.name, to=int(getattr(TensorProto, _PROTO.get(dtype, dtype.upper()))))
        return Value(made, ColumnType(dtype), missing=value.missing)

    def _either(self, left: str | None, right: str | None) -> str | None:
        if left is None or right is None:
            return left or right
        return self._builder.add("Or", left, right)


_PROTO: Final = {"float32": "FLOAT", "float64": "DOUBLE"}


def _refused(what: str) -> NotCompilableError:
    return NotCompilableError(f"An expression has a part that no request can have: {what}.", _INSTEAD)
