"""An NVTabular operator of our own; imports NVTabular (seconds), so import this module only where it is used.

A saved workflow refers to it by its name, so loading one needs this package importable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from merlin.core.dispatch import encode_list_column, flatten_list_column_values, is_list_dtype
from merlin.schema import Tags
from nvtabular.ops import Operator

from cartwheel.core.errors import DataError, UsageError
from workflows.compiler.operators.arithmetic import OPERATIONS

_DTYPES: Final = ("float32", "float64")


class Arithmetic(Operator):  # type: ignore[misc]
    """Makes one column of two, or of one and a constant, where NVTabular offers only a Python function.

    Integers, floats and booleans are taken as float64, in which integers beyond 2**53 are rounded. The arithmetic is IEEE's: x / 0 is an
    infinity, 0 / 0 is NaN, and the result is missing wherever a column is, also of a minimum or maximum. A list may be combined with a
    constant, element by element.

    Example: ``["price", "quantity"] >> Arithmetic("multiply", "price", "quantity", name="revenue")``.

    Args:
        operation: ``add``, ``subtract``, ``multiply``, ``divide``, ``minimum``, ``maximum`` or ``absolute_difference``.
        left: name of a column, or a number.
        right: likewise; one of the two must be a column.
        name: name of the column that is made.
        dtype: its type, ``float32`` or ``float64``.

    Raises:
        UsageError: if an argument is none of these.
    """

    def __init__(self, operation: str, left: str | float, right: str | float, name: str, dtype: str = "float64") -> None:
        if operation not in OPERATIONS:
            raise UsageError(f"Arithmetic does not support the operation {operation!r}.", f"Use one of {', '.join(OPERATIONS)}.")
        if not isinstance(left, str) and not isinstance(right, str):
            raise UsageError(f"Arithmetic is given two constants, {left!r} and {right!r}.", "Give it at least one column's name.")
        if dtype not in _DTYPES:
            raise UsageError(f"Arithmetic cannot give {dtype!r}.", f"Use one of {', '.join(_DTYPES)}.")
        super().__init__()
        self.operation = operation
        self.left, self.right = (side if isinstance(side, str) else float(side) for side in (left, right))
        self.name = name
        self.dtype = dtype

    @property
    def columns(self) -> list[str]:
        """The columns that it computes with, each once."""
        return list(dict.fromkeys(side for side in (self.left, self.right) if isinstance(side, str)))

    def column_mapping(self, col_selector: Any) -> dict[str, list[str]]:
        """Return that the new column is made of its operands.

        Raises:
            UsageError: if the selected columns are others.
        """
        if set(col_selector.names) != set(self.columns):
            raise UsageError(
                f"Arithmetic {self.name!r} computes with {self.columns} and is applied to {col_selector.names}.",
                "Apply it to exactly the columns that it computes with.",
            )
        return {self.name: self.columns}

    def transform(self, col_selector: Any, df: Any) -> Any:  # noqa: ARG002  (NVTabular's signature)
        """Compute the column for a pandas or cuDF frame.

        Raises:
            DataError: if a list is combined with another column.
        """
        lists = [name for name in self.columns if is_list_dtype(df[name])]
        if lists and isinstance(self.left, str) and isinstance(self.right, str):
            raise DataError(
                f"Arithmetic {self.name!r} combines the lists {lists} with a column.", "Combine lists with constants only."
            )
        left, right = (_operand(df, side) for side in (self.left, self.right))
        with np.errstate(all="ignore"):
            result = _NUMPY[self.operation](left, right).astype(self.dtype)
        made = type(df)()
        made[self.name] = encode_list_column(df[lists[0]], result) if lists else result
        return made

    @property
    def output_dtype(self) -> Any:
        """``dtype`` as NumPy's."""
        return np.dtype(self.dtype)

    @property
    def output_tags(self) -> list[Any]:
        """That the column is continuous."""
        return [Tags.CONTINUOUS]

    def _compute_properties(self, col_schema: Any, input_schema: Any) -> Any:  # noqa: ARG002
        """Leave the properties empty: the domain of an operand is not that of the result."""
        return col_schema


def _absolute_difference(left: Any, right: Any) -> Any:
    return np.absolute(np.subtract(left, right))


_NUMPY: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "absolute_difference": _absolute_difference,
}


def _operand(df: Any, side: str | float) -> Any:
    if not isinstance(side, str):
        return side
    column = df[side]
    return (flatten_list_column_values(column) if is_list_dtype(column) else column).astype("float64")
