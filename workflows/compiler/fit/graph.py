"""The graph part of fitting: the order of the fits, and the schemas.

Imports Merlin, so use it only where NVTabular is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import DataError, NotCompilableError
from workflows.compiler.fit.fitter import Applied, Group
from workflows.compiler.fit.passes import Inputs
from workflows.compiler.plan.read import read_inputs, read_types
from workflows.compiler.plan.types import DTYPES, ColumnType, accepts, from_polars

Trail = tuple[Any, ...]
"""A node of the graph, behind the nodes of the subgraphs that it is in, outermost first."""

_MERLIN: Final = {"bool": "boolean"}


def stat_trails(output_node: Any, above: Trail = ()) -> list[Trail]:
    """Return the nodes whose operators need fitting, each behind those that it depends on.

    Raises:
        NotCompilableError: if a subgraph is run in a loop.
    """
    from merlin.dag.node import postorder_iter_nodes
    from merlin.dag.ops.stat_operator import StatOperator

    trails = []
    for node in postorder_iter_nodes(output_node):
        if node.op.is_subgraph:
            if node.op.loop_until:
                raise NotCompilableError(
                    f"The subgraph {node.op.name!r} runs in a loop, which Polars cannot fit.", 'Fit with engine="nvtabular".'
                )
            trails += stat_trails(node.op.graph.output_node, (*above, node))
        elif isinstance(node.op, StatOperator):
            trails.append((*above, node))
    return trails


def phases(trails: Sequence[Trail]) -> Iterator[list[Trail]]:
    """Put nodes into phases: those of a phase depend only on nodes of earlier ones."""
    waiting = list(trails)
    while waiting:
        left = {id(trail[-1]) for trail in waiting}
        ready = [trail for trail in waiting if not left & _upstream(trail)]
        yield ready
        waiting = [trail for trail in waiting if trail not in ready]


def _upstream(trail: Trail) -> set[int]:
    """Return the nodes before a node, those in and before the subgraphs around it included."""
    found: set[int] = set()
    queue = [parent for node in trail for parent in node.parents_with_dependencies]
    while queue:
        node = queue.pop()
        if id(node) not in found:
            found.add(id(node))
            queue += node.parents_with_dependencies
            if node.op.is_subgraph:
                queue.append(node.op.graph.output_node)
    return found


def clear(trails: Sequence[Trail]) -> None:
    """Forget earlier fits."""
    for trail in trails:
        trail[-1].op.clear()
        trail[-1].op.fitted = False


def selection(node: Any) -> tuple[Group, ...]:
    """Return what the operator of a node is applied to."""
    return tuple(node.input_columns.resolve(node.input_schema).grouped_names)


def read_applied(workflow: Any, trails: Sequence[Trail], events: pl.LazyFrame, engine: Any) -> tuple[Inputs, list[Applied]]:
    """Return the operators of a phase with their columns, which the operators fitted before make, and where those are read.

    Raises:
        NotCompilableError: if an operator before them has no meaning in a plan.
    """
    plan, columns = read_inputs(workflow, trails)
    inputs = Inputs(plan, events, engine)
    applied = [Applied(trail[-1].op, selection(trail[-1]), made, inputs) for trail, made in zip(trails, columns, strict=True)]
    return inputs, applied


def raw_schema(events: pl.LazyFrame, given: Any = None) -> Any:
    """Return the Merlin schema of events, without columns of types that no plan has, with the tags and properties of another schema.

    Raises:
        DataError: if the other schema has a column that the events lack, or says another type of it.
    """
    from merlin.schema import Schema

    kinds: dict[str, ColumnType] = {}
    for name, dtype in events.collect_schema().items():
        with suppress(NotCompilableError):
            kinds[name] = ColumnType("string") if dtype == pl.Null else from_polars(dtype)
    for column in given or ():
        _check_given(column, kinds.get(column.name), list(events.collect_schema()))
    return described(Schema([_column(name, kind) for name, kind in kinds.items()]), given)


def described(schema: Any, given: Any) -> Any:
    """Return a schema with the tags and properties that another one has for its columns."""
    from merlin.schema import Schema

    columns = []
    for column in schema:
        other = None if given is None else given.get(column.name)
        columns.append(column if other is None else column.with_tags(other.tags).with_properties(other.properties))
    return Schema(columns)


def _check_given(column: Any, kind: ColumnType | None, names: list[str]) -> None:
    if kind is None:
        raise DataError(
            f"The schema has a column {column.name!r}, which the events lack or have in a type that no workflow can read; "
            f"they have {names}.",
            "Give the schema of these events.",
        )
    dtype = str(column.dtype.without_shape.name)
    dtype = "string" if dtype in ("str", "object") else dtype
    told = ColumnType(dtype, bool(column.is_list)) if dtype in DTYPES else None
    if told is not None and not accepts(told, kind.polars):
        raise DataError(
            f"Column {column.name!r} of the events is {kind}, and {told} in the schema.", "Give the schema of these events."
        )


def construct(workflow: Any, root: Any, events: pl.LazyFrame) -> None:
    """Construct the schemas of the graph from the schema of the events, before anything is fitted.

    Raises:
        DataError: naming a column that the graph reads and the events lack, or have in a type that it cannot read, or tags that no
            column has.
    """
    types = events.collect_schema()
    try:
        _construct(workflow, root)
    except DataError as error:
        for name, dtype in types.items():
            if name not in root.column_names and repr(name) in error.found:
                raise DataError(
                    f"Column {name!r} of the events is {dtype}, which no workflow can read.", "Cast it, or leave it out."
                ) from error
        raise
    for graph in _graphs(workflow.graph):
        _check_tags(graph, root)


def _check_tags(graph: Any, root: Any) -> None:
    """Refuse a selection by tags that selects nothing, which NVTabular takes for one of no columns."""
    from merlin.dag import ColumnSelector
    from merlin.dag.node import postorder_iter_nodes
    from merlin.dag.ops.selection import SelectionOp

    for node in postorder_iter_nodes(graph.output_node):
        selector = getattr(node.op, "selector", None)
        if not isinstance(selector, ColumnSelector):
            continue
        if grouped := [tag for group in selector.subgroups for tag in group.tags]:
            raise NotCompilableError(
                f"The workflow selects a group of columns by the tags {_told(grouped)}, which NVTabular takes for a group of none.",
                "Name the columns of a group.",
            )
        schemas = [before.output_schema for before in node.parents_with_dependencies]
        schemas += [root] if isinstance(node.op, SelectionOp) else []
        if selector.tags and not any(len(schema.select_by_tag(selector.tags)) for schema in schemas):
            raise DataError(
                f"The workflow selects columns by the tags {_told(selector.tags)}, and no column has one of them.",
                "Give fit_workflow a schema with tags, or select columns by their names.",
            )


def _told(tags: Sequence[Any]) -> list[str]:
    return [str(getattr(tag, "value", tag)) for tag in tags]


def construct_again(workflow: Any, root: Any) -> None:
    """Construct the schemas again after a phase, for some operators know what they make from them alone."""
    _construct(workflow, root)


def _construct(workflow: Any, root: Any, *, preserve_dtypes: bool = False) -> None:
    try:
        for graph in _graphs(workflow.graph):
            graph.construct_schema(root, preserve_dtypes=preserve_dtypes)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # whatever its operators say to each other
        raise DataError(
            f"The workflow cannot read the events ({cause(error)}); they have the columns {root.column_names}.",
            "Give it the columns that its graph selects, each operator such as it takes.",
        ) from error


def cause(error: BaseException) -> str:
    """Return what first went wrong, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())


def finish_schemas(workflow: Any, root: Any, sample: pl.DataFrame) -> None:
    """Construct the schemas again, which now tell what was fitted, with the types that columns turn out to have.

    NVTabular takes those types from a run of the first rows; the plan knows them. Where an operator that needs no fitting has no meaning
    in a plan, the first rows are run here too.

    Raises:
        NotCompilableError: if an operator has no meaning in a plan, and NVTabular cannot run the first rows either.
    """
    try:
        for node, kinds in read_types(workflow):
            _set_types(node, kinds)
    except NotCompilableError as refused:
        from merlin.dag.executors import LocalExecutor

        try:
            LocalExecutor().transform(_filled(sample).to_pandas(), [workflow.output_node], capture_dtypes=True)
        except Exception as error:  # whatever pandas meets
            raise NotCompilableError(
                f"{refused.found} NVTabular cannot run the workflow on the first rows either ({cause(error)}).", refused.fix
            ) from error
    _construct(workflow, root, preserve_dtypes=True)


def _graphs(graph: Any) -> list[Any]:
    """Return a graph behind the subgraphs in it."""
    from merlin.dag.node import postorder_iter_nodes

    inner = [node.op.graph for node in postorder_iter_nodes(graph.output_node) if node.op.is_subgraph]
    return [found for subgraph in inner for found in _graphs(subgraph)] + [graph]


def _column(name: str, kind: ColumnType) -> Any:
    import merlin.dtypes as md
    from merlin.schema import ColumnSchema

    dtype = getattr(md, _MERLIN.get(kind.dtype, kind.dtype))
    return ColumnSchema(name, dtype=dtype, dims=(None, None) if kind.is_list else (None,))


def _set_types(node: Any, kinds: Mapping[str, ColumnType]) -> None:
    for name, column in node.output_schema.column_schemas.items():
        if name in kinds:
            typed = _column(name, kinds[name])
            shape = column.shape if column.shape.is_list and kinds[name].is_list else typed.shape
            node.output_schema.column_schemas[name] = column.with_dtype(typed.dtype.without_shape).with_shape(shape)


def _filled(sample: pl.DataFrame) -> pl.DataFrame:
    """Return rows without nulls and empty lists, so that pandas tells the types that columns have."""
    columns = []
    for series in sample.get_columns():
        blank = _blank(series.dtype)
        if isinstance(series.dtype, pl.List):
            empty = pl.col(series.name).list.len().fill_null(0) == 0
            columns.append(
                pl.when(empty).then(pl.lit([_blank(series.dtype.inner)], series.dtype)).otherwise(series.name).alias(series.name)
            )
        elif blank is not None:
            columns.append(pl.col(series.name).fill_null(blank))
    return sample.select(columns)


def _blank(dtype: Any) -> Any:
    if dtype == pl.String:
        return ""
    if dtype == pl.Boolean:
        return False
    return 0 if dtype.is_numeric() else None
