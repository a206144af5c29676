"""Reasons: how far a model's score moves when one column is replaced by its typical value.

The reason of column c in a row is score(row) - score(row with c typical): above 0 where the value raises the score. A number's typical
value is the training median, an id's the most frequent one, a list's the empty one. Of a linear model, reasons of numbers are exactly
coefficient times distance from the median. The column that flags a missing number is replaced together with the number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.families.family import Floats
from models.training.tables import Table
from workflows.features.column import CONTINUOUS, LISTS, Column, Kind

FLAG: Final = "_filled"
"""Follows the name of a number: the encoded column that says where it was missing."""
TOP: Final = 3
"""Reasons that an answer gives."""

Typical = Mapping[str, "float | int | list[float] | list[int]"]


def typical_values(columns: Sequence[Column], train: Table) -> dict[str, Any]:
    """Return the typical encoded value of each column: a number, an id, or a list of the column's width."""
    return {column.name: _typical(column, train[column.name]) for column in columns}


def reason_groups(columns: Sequence[Column]) -> dict[str, list[str]]:
    """Return each column that is a reason -> the columns that are replaced together: itself, and its flag where the model reads that.

    >>> from workflows.features.column import Owner
    >>> age = Column("age", Owner.SHOPPER, Kind.NUMBER, "age")
    >>> reason_groups([age, Column("age_filled", Owner.SHOPPER, Kind.NUMBER, "age is not known")])
    {'age': ['age', 'age_filled']}
    """
    names = {column.name for column in columns}
    flags = {name + FLAG for name in names} & names
    return {name: [name, name + FLAG] if name + FLAG in flags else [name] for name in _in_order(columns) if name not in flags}


def reasons(scores: Callable[[Table], Floats], columns: Sequence[Column], typical: Typical, rows: Table) -> dict[str, Floats]:
    """Return column -> [n] how much the score falls where the column is made typical.

    Args:
        scores: of the model.
        columns: what it reads.
        typical: as ``typical_values`` gives it.
        rows: [n] encoded rows.
    """
    whole = scores(rows)
    found = {}
    for name, together in reason_groups(columns).items():
        replaced = {each: np.broadcast_to(np.asarray(typical[each], rows[each].dtype), rows[each].shape) for each in together}
        found[name] = whole - scores(Table(rows.folder, {**rows.columns, **replaced}))
    return found


def _typical(column: Column, values: npt.NDArray[Any]) -> Any:
    if column.kind in CONTINUOUS:
        return float(np.float32(np.median(values)))
    if column.kind is Kind.VECTOR:
        return [float(value) for value in np.median(values, axis=0).astype(np.float32)]
    if column.kind in LISTS:
        return [0] * values.shape[1]
    ids, counts = np.unique(values, return_counts=True)
    return int(ids[np.argmax(counts)])


def _in_order(columns: Sequence[Column]) -> list[str]:
    return [column.name for column in columns]
