"""The Polars back end of the plan: whole tables, lazily, so that Polars can stream them.

Each node of the plan is computed once, however many others need it: a node that several need becomes a column of its own for a while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from cartwheel.core.errors import DataError
from workflows.compiler.operators.step import conventional, elementwise
from workflows.compiler.plan.graph import Plan, RowFilter
from workflows.compiler.plan.types import ColumnType, accepts


def compile_polars(
    plan: Plan, frame: pl.LazyFrame, columns: Sequence[str] | None = None, keep: Sequence[str] = ()
) -> pl.LazyFrame:
    """Encode a table with a plan.

    Args:
        plan: the plan of a fitted workflow.
        frame: rows with at least the raw columns that are needed; integers may be narrower than the plan says, or be integers where it
            says float64, and nothing else may differ (see ``workflows.compiler.plan.types.accepts``).
        columns: encoded columns wanted; None means all.
        keep: columns of ``frame`` to carry along as they are, behind those.

    Returns:
        The encoded columns, in the rows' order, of the types of the plan; null where a value is missing, NaN nowhere.

    Raises:
        NotCompilableError: if the plan makes no such column.
        DataError: if a raw column is missing or of another type.
    """
    wanted = list(plan) if columns is None else list(columns)
    outputs = {column: plan.place(column) for column in wanted}
    if clash := sorted(set(keep) & set(wanted)):
        raise DataError(f"The columns {clash} are to be kept as they are and to be encoded.", "Keep them under other names.")
    needed = plan.needed(outputs.values())
    check_columns({node.name: node.type for place in needed if (node := plan.nodes[place]).is_raw}, frame.collect_schema())
    shared = _shared(plan, needed, outputs.values())
    raw = [place for place in needed if plan.nodes[place].is_raw]
    frame = frame.select(
        [pl.col(name).alias(_kept(name)) for name in keep]
        + [conventional(pl.col(plan.nodes[place].name), plan.nodes[place].type).alias(_name(place)) for place in raw]
    )
    made: dict[int, pl.Expr] = {}
    for rows in _path(plan, needed):
        if rows:
            frame = frame.filter(_stays(plan.filters[rows - 1], plan))
        for place in needed:
            if plan.nodes[place].rows == rows:
                if plan.nodes[place].is_row_number:
                    frame = frame.with_row_index(_name(place)).with_columns(pl.col(_name(place)).cast(pl.Int64))
                    made[place] = pl.col(_name(place))
                    continue
                made[place] = _expression(plan, place, made)
                if place in shared:
                    frame = frame.with_columns(made[place].alias(_name(place)))
                    made[place] = pl.col(_name(place))
    encoded = [_output(made[place], plan.nodes[place].type).alias(column) for column, place in outputs.items()]
    return frame.select(encoded + [pl.col(_kept(name)).alias(name) for name in keep])


def _shared(plan: Plan, needed: Iterable[int], outputs: Iterable[int]) -> set[int]:
    """Return the nodes that become columns for a while: those that several need, and those that a filter reads or carries on."""
    uses = Counter(outputs)
    shared = set()
    for place in needed:
        node = plan.nodes[place]
        uses.update(node.inputs)
        if node.rows:
            shared |= {*plan.filters[node.rows - 1].inputs.values()}
            shared |= {*node.inputs} if node.step is None else set()
    shared |= {place for place, count in uses.items() if count > 1}
    return {place for place in shared if plan.nodes[place].step is not None}


def _stays(row_filter: RowFilter, plan: Plan) -> pl.Expr:
    columns = {name: pl.col(_name(_origin(plan, place))) for name, place in row_filter.inputs.items()}
    return row_filter.step.keeps(columns, {name: plan.nodes[place].type for name, place in row_filter.inputs.items()})


def _expression(plan: Plan, place: int, made: Mapping[int, pl.Expr]) -> pl.Expr:
    node = plan.nodes[place]
    if node.step is None:
        return pl.col(_name(_origin(plan, place)))
    return node.step.polars([made[source] for source in node.inputs], [plan.nodes[source].type for source in node.inputs])


def _origin(plan: Plan, place: int) -> int:
    """Return the node that one carried through filters comes from."""
    while plan.nodes[place].step is None and plan.nodes[place].inputs:
        place = plan.nodes[place].inputs[0]
    return place


def _path(plan: Plan, needed: Iterable[int]) -> list[int]:
    """Return the row sets on the way to the last, in order."""
    path = [max((plan.nodes[place].rows for place in needed), default=0)]
    while path[-1]:
        path.append(plan.filters[path[-1] - 1].rows)
    return path[::-1]


def _name(place: int) -> str:
    return f"%{place}"


def _kept(name: str) -> str:
    return f"kept {name}"


def check_columns(raw: Mapping[str, ColumnType], schema: Mapping[str, pl.DataType]) -> None:
    """Check that a table has the raw columns of a plan.

    Args:
        raw: the raw columns that are needed.
        schema: the columns of the table.

    Raises:
        DataError: naming the first that is missing or of a type that is not taken for its own.
    """
    for name, kind in raw.items():
        if name not in schema:
            raise DataError(
                f"The table has no column {name!r}; it has {list(schema)}.",
                "Give the workflow the columns that it was fitted on.",
            )
        if not accepts(kind, schema[name]):
            raise DataError(
                f"Column {name!r} is {schema[name]}, expected {kind}.",
                "Cast it to the type that the workflow was fitted on.",
            )


def _output(column: pl.Expr, kind: ColumnType) -> pl.Expr:
    return elementwise(column, kind, lambda element: element.fill_nan(None)) if kind.is_float else column
