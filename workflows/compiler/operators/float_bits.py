"""The IEEE 754 bits of floats as unsigned integers; every NaN has those of the quiet one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.step import FLOAT64, INT64, Value
from workflows.compiler.plan.types import ColumnType


def float_bits(values: pl.Series) -> pl.Series:
    """Return the bits of floats without nulls as UInt64; float32 has its 32 bits."""
    numbers = values.to_numpy()
    numbers = np.where(np.isnan(numbers), np.array(np.nan, numbers.dtype), numbers)
    return pl.Series(values.name, numbers.view(f"u{numbers.dtype.itemsize}").astype(np.uint64))


def float_bits_onnx(builder: GraphBuilder, value: Value) -> str:
    """Return the bits of floats as a uint64 tensor of the column's shape.

    ONNX has no way to look at bits, so they are put together from the sign, the exponent field and the significand.
    """
    layout = np.finfo(value.type.numpy)
    number = value.name if value.type.dtype == "float64" else builder.add("Cast", value.name, to=FLOAT64)
    sign, nan, infinity = (_signed(np.array(x, value.type.numpy)) for x in (-0.0, np.nan, np.inf))
    size = builder.add("Abs", number)
    bits = _finite(builder, size, int(layout.nmant), int(layout.maxexp))
    bits = builder.add("Where", builder.add("IsInf", size), builder.constant(infinity), bits)
    bits = builder.add("Where", _is_negative(builder, number), builder.add("Add", bits, builder.constant(sign)), bits)
    bits = builder.add("Where", builder.add("IsNaN", number), builder.constant(nan), bits)
    return builder.add("Cast", bits, to=ColumnType("uint64").onnx)


def _signed(number: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the bits of a float as int64."""
    return number.view(f"u{number.dtype.itemsize}").astype(np.uint64).view(np.int64)


def _finite(builder: GraphBuilder, size: str, digits: int, top: int) -> str:
    """Return the bits of finite float64 numbers, none negative, in a format of ``digits`` stored digits and exponents below ``top``.

    The exponent field is the number of powers of two, from the least normal number upwards, that are at most the number. Dividing by
    the unit in the last place of that exponent is exact, and leaves the significand, its leading digit included, as a whole number.
    """
    least = 2 - top  # exponent of the least normal number
    powers = np.ldexp(1.0, np.arange(least, top))
    last = builder.constant([-1], np.int64)
    reached = builder.add("GreaterOrEqual", builder.add("Unsqueeze", size, last), builder.constant(powers))
    field = builder.add("ReduceSum", builder.add("Cast", reached, to=INT64), last, keepdims=0)
    above = np.maximum(np.arange(len(powers) + 1) - 1, 0)  # subnormal numbers have the unit of the least normal ones
    shift = digits - least - above
    whole = size
    for half in (shift // 2, shift - shift // 2):  # one factor for the whole way would overflow
        whole = builder.add("Mul", whole, builder.add("Gather", builder.constant(np.ldexp(1.0, half)), field))
    exponent = builder.add("Gather", builder.constant(above.astype(np.int64) << digits), field)
    return builder.add("Add", exponent, builder.add("Cast", whole, to=INT64))


def _is_negative(builder: GraphBuilder, number: str) -> str:
    """Return where the sign bit of numbers is set, -0.0 among them, which only its reciprocal tells."""
    zero = builder.constant(0.0)
    reciprocal = builder.add("Div", builder.constant(1.0), number)
    return builder.add("Or", builder.add("Less", number, zero), builder.add("Less", reciprocal, zero))
