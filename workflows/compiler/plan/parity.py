"""Compares the outputs of two executors of one plan on the same rows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import ParityError
from workflows.compiler.lists import leaves
from workflows.compiler.plan.graph import Plan

TOLERANCE: Final = 1e-6
_REPORT: Final = "This is a defect of the compiled feature graph; report it with the workflow folder."


def check_parity(plan: Plan, raw: pl.DataFrame, expected: pl.DataFrame, answer: pl.DataFrame, names: tuple[str, str]) -> None:
    """Check that two encodings of the same rows are equal: integers, strings, nulls and lengths exactly, floats within 1e-6.

    Floats are compared relative to the largest number on the way: 1, the result, or what a step adds or subtracts, as a
    normalisation subtracts mean / std.

    Args:
        plan: the plan that both follow.
        raw: the raw rows, for the message.
        expected: what the first executor made of them, all columns of ``answer`` at least.
        answer: what the second made of them.
        names: what the two executors are called.

    Raises:
        ParityError: naming the column, the row and both values.
    """
    for column in answer.columns:
        left, right = expected[column], answer[column]
        if left.dtype != right.dtype or len(left) != len(right):
            raise ParityError(
                f"Encoded column {column!r}: {names[0]} gives {len(left)} rows of {left.dtype}, {names[1]} {len(right)} of {right.dtype}.",
                _REPORT,
            )
        differs = _differs(left, right, _offset(plan, column))
        if differs.any():
            row = int(np.argmax(differs))
            told = ", ".join(
                f"{name}={raw[name][row]!r}" for name in plan.sources(column) if name in raw.columns and raw.height == len(left)
            )
            raise ParityError(
                f"Encoded column {column!r}, row {row}: {names[0]} gives {_told(left[row])}, {names[1]} {_told(right[row])} for {told}.",
                _REPORT,
            )


def unpadded(answer: pl.DataFrame, expected: pl.DataFrame) -> pl.DataFrame:
    """Cut what a graph without lengths filled its lists up with, 0, from lists that are longer than those of ``expected``.

    Anything else beyond their end stays, and so is found to differ.
    """
    lists = [name for name, dtype in answer.schema.items() if isinstance(dtype, pl.List)]
    lengths = expected.select(pl.col(lists).list.len())
    columns = {}
    for name in lists:
        both = pl.DataFrame({"answer": answer[name], "length": lengths[name]})
        padded = ~pl.col("answer").list.slice("length").list.eval(pl.element() != 0).list.any()
        cut = pl.when(padded).then(pl.col("answer").list.head("length")).otherwise("answer")
        columns[name] = both.select(cut).to_series()
    return answer.with_columns(**columns)


def _told(value: Any) -> Any:
    return value.to_list() if isinstance(value, pl.Series) else value


def _differs(left: pl.Series, right: pl.Series, offset: float) -> npt.NDArray[np.bool_]:
    """Return, for each row, whether the two differ."""
    if not isinstance(left.dtype, pl.List):
        return _elements_differ(left, right, offset)
    lengths = left.list.len().fill_null(0).to_numpy()
    unequal: npt.NDArray[np.bool_] = lengths != right.list.len().fill_null(0).to_numpy()
    rows = np.flatnonzero(~unequal & (lengths > 0))
    if len(rows):
        differ = _elements_differ(leaves(left.gather(rows)), leaves(right.gather(rows)), offset)
        np.logical_or.at(unequal, np.repeat(rows, lengths[rows]), differ)
    return unequal


def _elements_differ(left: pl.Series, right: pl.Series, offset: float) -> npt.NDArray[np.bool_]:
    if not left.dtype.is_float():
        return left.ne_missing(right).to_numpy()
    first = left.fill_null(float("nan")).to_numpy().astype(np.float64)
    second = right.fill_null(float("nan")).to_numpy().astype(np.float64)
    allowed = TOLERANCE * np.maximum(np.abs(np.nan_to_num(first, posinf=0.0, neginf=0.0)), max(1.0, offset))
    with np.errstate(invalid="ignore"):  # inf - inf
        close: npt.NDArray[np.bool_] = (
            (first == second) | (np.abs(first - second) <= allowed) | (np.isnan(first) & np.isnan(second))
        )
    return ~close


def _offset(plan: Plan, column: str) -> float:
    return max([1.0, *(step.offset for step in plan.steps(column))])
