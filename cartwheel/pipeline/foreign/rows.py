"""Raw rows to check a served model on, where its user gives none: drawn from what the workflow was fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from workflows.compiler.operators.categorify import Lookup
from workflows.compiler.operators.groupby import find_groupby
from workflows.compiler.operators.keys import Keys
from workflows.compiler.operators.normalize import Standardize

if TYPE_CHECKING:
    from workflows.compiler.plan.graph import Plan
    from workflows.compiler.plan.types import ColumnType

_LONGEST: Final = 5
_LABELS: Final = 2


def drawn_rows(plan: Plan, raw: Mapping[str, ColumnType], rows: int, *, strange: bool, seed: int = 0) -> pl.DataFrame:
    """Draw raw rows.

    Args:
        plan: the workflow's; its vocabularies and means say which values there are.
        raw: the columns wanted, with their types.
        rows: how many.
        strange: whether some values are missing, and some were never seen.
        seed: fixes them.
    """
    generator = np.random.default_rng(seed)
    lengths = generator.integers(
        0 if strange else 1, _LONGEST, rows
    )  # of all lists of a row alike: columns of one session's events
    columns = {}
    for name, kind in raw.items():
        known = _known(plan, name)
        if kind.is_list:
            values: list[Any] = [_values(generator, kind, known, int(length), strange) for length in lengths]
        else:
            values = _values(generator, kind, known, rows, strange)
        columns[name] = pl.Series(name, values, dtype=kind.polars)
    return pl.DataFrame(columns)


def in_order(workflow: Any, rows: pl.DataFrame) -> pl.DataFrame:
    """Bring the events of each row, which come as lists, into the order of a workflow's ``Groupby``, as a request has them."""
    grouping = find_groupby(workflow)
    sorted_by = [name for name in grouping.sort_cols if isinstance(rows.schema.get(name), pl.List)] if grouping else []
    if not sorted_by:
        return rows
    lists = [name for name, kind in rows.schema.items() if isinstance(kind, pl.List)]
    found: dict[str, list[Any]] = {name: [] for name in lists}
    for row in rows.select(lists).iter_rows(named=True):
        keys = list(zip(*(row[name] or [] for name in sorted_by), strict=True))
        order = sorted(range(len(keys)), key=lambda place: [(value is None, value) for value in keys[place]])
        if not grouping.ascending:
            order.sort(key=lambda place: [(value is not None, value) for value in keys[place]], reverse=True)
        for name in lists:
            values = row[name]
            found[name].append([values[place] for place in order] if values is not None and len(values) == len(order) else values)
    return rows.with_columns(pl.Series(name, values, dtype=rows.schema[name]) for name, values in found.items())


def _values(generator: np.random.Generator, kind: ColumnType, known: pl.Series | None, count: int, strange: bool) -> list[Any]:
    if known is not None and len(known):
        found = known.gather(generator.integers(0, len(known), count)).to_list()
    elif kind.is_string:
        found = [f"value {number}" for number in generator.integers(0, _LONGEST, count)]
    elif kind.is_float:
        found = np.abs(generator.normal(size=count)).astype(kind.numpy).tolist()
    else:
        found = generator.integers(0, _LABELS, count).tolist()
    if kind.dtype == "bool":
        found = [bool(value) for value in found]
    if strange:
        for place in np.flatnonzero(generator.random(count) < 0.4):
            found[place] = None if generator.random() < 0.5 else _unseen(kind)
    return found


def _unseen(kind: ColumnType) -> Any:
    if kind.is_string:
        return "never seen"
    if kind.dtype == "bool":
        return True
    return 3.5 if kind.is_float else 101


def _known(plan: Plan, column: str) -> pl.Series | None:
    """Return values that the workflow knows of a raw column: keys that it is looked up among, or numbers around its mean."""
    place = next((place for place, node in enumerate(plan.nodes) if node.is_raw and node.name == column), None)
    means: pl.Series | None = None
    for node in plan.nodes:
        if place not in node.inputs:
            continue
        keys = node.step.keys if isinstance(node.step, Lookup) else node.step
        if isinstance(keys, Keys):
            found = keys.columns[node.inputs.index(place) if len(keys.columns) > 1 else 0].drop_nulls()
            kind = plan.nodes[place].type
            if found.dtype != pl.String:
                found = found.cast(kind.polars_element, strict=False).drop_nulls()
            if len(found):
                return found
        if isinstance(node.step, Standardize) and plan.nodes[place].type.is_float:
            spread = np.linspace(-2, 2, 41) * max(node.step.std, 0.0) + node.step.mean
            means = pl.Series(spread).cast(plan.nodes[place].type.polars_element)
    return means
