"""Column types at every edge of the plan: element type, and whether it is a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from onnx import TensorProto

from cartwheel.core.errors import NotCompilableError

_ONNX: Final[Mapping[str, int]] = {
    "string": TensorProto.STRING,
    "bool": TensorProto.BOOL,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}

_POLARS: Final[Mapping[str, pl.DataType]] = {
    "string": pl.String(),
    "bool": pl.Boolean(),
    "int8": pl.Int8(),
    "int16": pl.Int16(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "uint8": pl.UInt8(),
    "uint16": pl.UInt16(),
    "uint32": pl.UInt32(),
    "uint64": pl.UInt64(),
    "float32": pl.Float32(),
    "float64": pl.Float64(),
}

DTYPES: Final = tuple(_ONNX)
"""Element types of the plan: ``string``, ``bool``, the integers of 8 to 64 bits, ``float32`` and ``float64``."""


@dataclass(frozen=True)
class ColumnType:
    """The type of a column.

    In floats NaN and null are one thing, a missing value; strings, integers and booleans have nulls of their own.

    Attributes:
        dtype: one of ``DTYPES``: of the values, or of a list's elements.
        is_list: whether each row holds a list.
    """

    dtype: str
    is_list: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in _ONNX:
            raise NotCompilableError(
                f"A column of type {self.dtype!r} has no place in a plan.", f"Cast it to one of {', '.join(DTYPES)}."
            )

    def __str__(self) -> str:
        """Return, for example, ``list[int64]``."""
        return f"list[{self.dtype}]" if self.is_list else self.dtype

    @property
    def is_string(self) -> bool:
        """Whether the elements are strings."""
        return self.dtype == "string"

    @property
    def is_float(self) -> bool:
        """Whether the elements are floats, in which NaN is missing."""
        return self.dtype in ("float32", "float64")

    @property
    def is_integer(self) -> bool:
        """Whether the elements are integers, signed or not."""
        return "int" in self.dtype

    @property
    def is_number(self) -> bool:
        """Whether the elements are integers or floats."""
        return self.is_float or self.is_integer

    @property
    def onnx(self) -> int:
        """The elements' type in ONNX, a value of ``TensorProto.DataType``."""
        return int(_ONNX[self.dtype])

    @property
    def numpy(self) -> np.dtype[Any]:
        """The elements' type in NumPy; strings are objects."""
        return np.dtype(object if self.is_string else self.dtype)

    @property
    def polars_element(self) -> pl.DataType:
        """The elements' type in Polars."""
        return _POLARS[self.dtype]

    @property
    def polars(self) -> pl.DataType:
        """The column's type in Polars."""
        return pl.List(self.polars_element) if self.is_list else self.polars_element

    def of(self, dtype: str) -> ColumnType:
        """Return this type with other elements."""
        return replace(self, dtype=dtype)


def from_polars(dtype: Any) -> ColumnType:
    """Return the plan's type of a Polars column.

    Raises:
        NotCompilableError: if it has none, as dates and structs do.
    """
    if isinstance(dtype, (pl.List, pl.Array)):
        element = dtype.inner
        if isinstance(element, (pl.List, pl.Array)):
            raise NotCompilableError(f"A column of type {dtype} has no place in a plan.", "Flatten lists of lists.")
        return ColumnType(from_polars(element).dtype, is_list=True)
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        return ColumnType("string")
    for name, known in _POLARS.items():
        if dtype == known:
            return ColumnType(name)
    raise NotCompilableError(f"A column of type {dtype} has no place in a plan.", f"Cast it to one of {', '.join(DTYPES)}.")


def accepts(expected: ColumnType, found: Any) -> bool:
    """Whether a Polars column of another type is taken for a column of the plan without a change of any value.

    Integers may be narrower. Where the plan has float64 they may be of any width, because pandas makes float64 of integers beside nulls,
    and so a workflow that NVTabular fitted on such a column knows it so; those beyond 2**53 are rounded there as in pandas. A column
    of nulls alone may have no type.
    """
    inner = found.inner if isinstance(found, (pl.List, pl.Array)) else found
    if inner == pl.Null:
        return expected.is_list == isinstance(found, (pl.List, pl.Array))
    kind = from_polars(found)
    if kind == expected:
        return True
    integers = kind.is_integer and (expected.is_integer or expected.dtype == "float64")
    return kind.is_list == expected.is_list and integers and np.can_cast(kind.numpy, expected.numpy, "safe")
