"""Reads the plan from the graph of a fitted NVTabular workflow.

NVTabular runs a graph of nodes, each an operator over some columns, and computes a node again for each path that leads to it. Here every
node of the graph is read once, and every column that it makes becomes one node of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import CartwheelError, NotCompilableError, RunError
from workflows.compiler.operators.described import described
from workflows.compiler.operators.groupby import group_keys, is_groupby, read_groupby
from workflows.compiler.operators.row_number import RowNumber
from workflows.compiler.operators.step import Applied, Step
from workflows.compiler.operators.substitute import Substitutes
from workflows.compiler.operators.table import drops_rows, fits_to_dependencies, makes_columns, read_column, read_rows
from workflows.compiler.plan.graph import Node, Plan, RowFilter
from workflows.compiler.plan.types import DTYPES, ColumnType

_STRINGS: Final = ("str", "object", "string")  # "object" is what pandas calls strings


def read_plan(workflow: Any) -> Plan:
    """Read the graph of a fitted workflow.

    Args:
        workflow: an ``nvtabular.Workflow`` that is fitted, or loaded from where it was saved.

    Returns:
        Its plan.

    Raises:
        NotCompilableError: if an operator in the graph has no registered meaning, or a column no type in a plan.
        RunError: if the workflow is not fitted.
    """
    plan, refused = read_parts(workflow, refuse=True)
    assert not refused
    return plan


def read_parts(
    workflow: Any, *, refuse: bool = False, substitutes: Substitutes | None = None, keep_rows: bool = False
) -> tuple[Plan, dict[str, CartwheelError]]:
    """Read as much of the graph of a fitted workflow as has an exact form.

    Args:
        workflow: as for :func:`read_plan`.
        refuse: whether a column without an exact form is an error, and not only left out.
        substitutes: what makes a column in the place of a ``LambdaOp``.
        keep_rows: whether it is read for requests, each of whose rows is answered: ``Dropna`` and ``Filter`` drop nothing, and what
            ``Groupby`` groups comes as lists, a group a row.

    Returns:
        The plan, and of each column that it leaves out why: it, or one that it is made from, has no exact form.

    Raises:
        NotCompilableError: if rows are dropped by what has no exact form, or a column has none and ``refuse`` is true.
        RunError: if the workflow is not fitted.
    """
    if workflow.output_schema is None:
        raise RunError("The workflow is not fitted.", "Fit it, or load it from where it was saved, before compiling it.")
    reading = _Reading(workflow.input_schema, refuse=refuse, substitutes=substitutes, keep_rows=keep_rows)
    reading.grouped_by = group_keys(workflow) if keep_rows else None
    made = reading.columns(workflow.output_node, None)
    outputs = {name: made[name] for name in workflow.output_schema.column_names}
    refused = {name: reading.refused[place] for name, place in outputs.items() if place < 0}
    outputs = {name: place for name, place in outputs.items() if place >= 0}
    if len({reading.nodes[place].rows for place in outputs.values()}) > 1:
        raise _mixed(sorted(outputs))
    return Plan(tuple(reading.nodes), tuple(reading.filters), outputs), refused


def raw_columns(workflow: Any) -> dict[str, ColumnType]:
    """Return the raw columns that a workflow was fitted on, with their types.

    Raises:
        NotCompilableError: if a column has no type in a plan.
    """
    return {name: _raw_type(workflow.input_schema, name) for name in workflow.input_schema.column_names}


def read_inputs(workflow: Any, trails: Sequence[Sequence[Any]]) -> tuple[Plan, list[dict[str, str]]]:
    """Read what some operators of a workflow are fitted on, which need not be fitted themselves, nor what comes behind them.

    That is what reaches them in training: where an operator gives training rows other values than it serves, as ``TargetEncoding`` with
    folds does, those of training.

    Args:
        workflow: an ``nvtabular.Workflow`` whose schemas are constructed and whose operators before those are fitted.
        trails: nodes of its graph, each behind the nodes of the subgraphs that it is in, outermost first.

    Returns:
        A plan of all columns that reach them, and for each node: name of the column -> name of the plan's output.

    Raises:
        NotCompilableError: if an operator before them has no registered meaning, or a column no type in a plan.
    """
    reading = _Reading(workflow.input_schema, fitting=True)
    found = [reading.inputs(trail) for trail in trails]
    outputs = {str(place): place for made in found for place in made.values()}
    plan = Plan(tuple(reading.nodes), tuple(reading.filters), outputs)
    return plan, [{name: str(place) for name, place in made.items()} for made in found]


def read_types(workflow: Any) -> list[tuple[Any, dict[str, ColumnType]]]:
    """Return each node of a fitted workflow's graph with the types of the columns that it makes; subgraphs count as one node.

    Raises:
        NotCompilableError: if an operator in the graph has no registered meaning, or a column no type in a plan.
    """
    from merlin.dag.node import postorder_iter_nodes

    reading = _Reading(workflow.input_schema)
    reading.columns(workflow.output_node, None)
    typed = []
    for node in postorder_iter_nodes(workflow.output_node):
        made = reading.columns(node, None)
        typed.append((node, {name: reading.nodes[place].type for name, place in made.items()}))
    return typed


class _Reading:
    """A plan while it is being read."""

    def __init__(
        self,
        schema: Any,
        *,
        fitting: bool = False,
        refuse: bool = True,
        substitutes: Substitutes | None = None,
        keep_rows: bool = False,
    ) -> None:
        self.refused: dict[int, CartwheelError] = {}
        """Places below 0, which stand for columns without an exact form -> why they have none."""
        self._refuse = refuse
        self._substitutes = substitutes or {}
        self._keep_rows = keep_rows
        self.grouped_by: frozenset[str] | None = None
        """The columns that stay single where all others come as lists; None where nothing is grouped."""
        self.nodes: list[Node] = []
        self.filters: list[RowFilter] = []
        self._schema = schema
        self._fitting = fitting
        self._inexact: set[int] = set()  # places of floats whose last bit is not the same everywhere
        self._raw: dict[str, int] = {}
        self._read: dict[tuple[int, int], dict[str, int]] = {}
        self._roots: list[Mapping[str, int]] = []  # kept, for ``_read`` knows them by their addresses

    def columns(self, node: Any, roots: Mapping[str, int] | None) -> dict[str, int]:
        """Return the columns that a node of the workflow makes, by name; ``roots`` are what comes in, None the raw columns."""
        key = (id(node), id(roots))
        if key not in self._read:
            available: dict[str, int] = {}
            done = fits_to_dependencies(node.op)  # what it was fitted to, a label say, may then be nowhere and of any type
            for parent in node.parents if done else node.parents_with_dependencies:
                available.update(self.columns(parent, roots))  # of two makers of one name NVTabular keeps the later
            for name in _selected(node).names if done else node.input_schema.column_names:
                if name not in available and (roots is not None or self._schema.get(name) is not None):  # groups list all columns
                    available[name] = self._root(name, roots)
            self._read[key] = self._apply(node, available)
        return self._read[key]

    def inputs(self, trail: Sequence[Any]) -> Mapping[str, int]:
        """Return the columns that reach the last node of ``trail``, the others of which are the subgraphs around it."""
        roots: Mapping[str, int] | None = None
        for node in trail:
            available: dict[str, int] = {}
            for parent in node.parents_with_dependencies:
                available.update(self.columns(parent, roots))
            for name in node.input_schema.column_names:
                if name not in available and (roots is not None or self._schema.get(name) is not None):  # groups list all columns
                    available[name] = self._root(name, roots)
            self._roots.append(available)
            roots = available
        assert roots is not None
        return roots

    def _apply(self, node: Any, available: dict[str, int]) -> dict[str, int]:
        if getattr(node.op, "is_subgraph", False):
            made = self.columns(node.op.graph.output_node, available)
            return {name: made[name] for name in node.output_schema.column_names}
        if self._keep_rows and drops_rows(node.op) and not makes_columns(node.op):
            return available
        row_step = read_rows(node.op)
        if row_step is not None:
            available = self._filter(row_step, available, node.output_schema.column_names)
            if not makes_columns(node.op):
                return available
        groups = tuple(_selected(node).grouped_names) if node.input_columns else ()
        made = {}
        for name in node.output_schema.column_names:
            sources = tuple(node.column_mapping.get(name, [name])) if node.column_mapping else (name,)
            try:
                made[name] = self._made(node.op, name, sources, available, groups)
            except CartwheelError as error:
                if self._refuse:
                    raise
                made[name] = self._leave_out(error)
        return made

    def _made(
        self, operator: Any, name: str, sources: tuple[str, ...], available: Mapping[str, int], groups: tuple[Any, ...]
    ) -> int:
        """Return the place of a column that an operator makes."""
        if (substitute := self._substitutes.get((id(operator), name))) is not None:
            how = substitute.made(name, {each: self.nodes[place].type for each, place in available.items() if place >= 0})
        else:
            for source in sources:
                if available.get(source, 0) < 0 and operator is not None and not fits_to_dependencies(operator):
                    raise self.refused[available[source]]
            types = {each: self.nodes[place].type for each, place in available.items() if place >= 0}
            grouping = self.grouped_by is not None and is_groupby(operator)
            if operator is None and available.get(sources[0], 0) < 0:
                return available[sources[0]]
            applied = Applied(operator, name, sources, types, groups, self._fitting, self.grouped_by)
            how = read_groupby(applied) if grouping else read_column(applied)
        if absent := [source for source in how.sources if source not in available]:
            raise NotCompilableError(
                f"Feature column {name!r}: the operator {type(operator).__name__} reads the columns {absent}, and "
                f"{sorted(available)} reach it.",
                "Apply it to the columns that it reads as well.",
            )
        places = tuple(available[source] for source in how.sources)
        for place in places:
            if place < 0:
                raise self.refused[place]
        if how.by_row:
            places = (self._row_number(self.nodes[places[0]].rows), *places)
        for step in how.steps:
            places = (self._add(name, step, places),)
        return places[0]

    def _leave_out(self, error: CartwheelError) -> int:
        """Return the place below 0 that stands for a column without an exact form."""
        for place, known in self.refused.items():
            if known is error:
                return place
        place = -1 - len(self.refused)
        self.refused[place] = error
        return place

    def _root(self, name: str, roots: Mapping[str, int] | None) -> int:
        if roots is not None:
            return roots[name]
        if name not in self._raw:
            try:
                kind = _raw_type(self._schema, name)
                if self.grouped_by is not None and name not in self.grouped_by:
                    kind = replace(kind, is_list=True)
                node = Node(name, kind, None, ())
            except NotCompilableError as error:
                if self._refuse:
                    raise
                self._raw[name] = self._leave_out(error)
                return self._raw[name]
            self._raw[name] = len(self.nodes)
            self.nodes.append(node)
        return self._raw[name]

    def _add(self, name: str, step: Step, places: tuple[int, ...]) -> int:
        inputs = [self.nodes[place] for place in places]
        if len({node.rows for node in inputs}) > 1:
            raise _mixed([node.name for node in inputs])
        try:
            kind = step.result([node.type for node in inputs])
        except NotCompilableError as error:
            raise NotCompilableError(f"Feature column {name!r}: {error.found}", error.fix) from error
        self._check_bits(name, step, places)
        for place, node in enumerate(self.nodes):  # 0.0 equals -0.0, and is told otherwise
            if node.inputs == places and node.step == step and described(step) == described(node.step):
                return place
        self.nodes.append(Node(name, kind, step, places, inputs[0].rows))
        if kind.is_float and (not step.is_exact or self._inexact & set(places)):
            self._inexact.add(len(self.nodes) - 1)
        return len(self.nodes) - 1

    def _row_number(self, rows: int) -> int:
        """Return the node that numbers a set of rows."""
        for place, node in enumerate(self.nodes):
            if node.is_row_number and node.rows == rows:
                return place
        self.nodes.append(Node("row number", RowNumber().result([]), RowNumber(), (), rows))
        return len(self.nodes) - 1

    def _check_bits(self, name: str, step: Step, places: tuple[int, ...]) -> None:
        """Refuse to hash what is not the same to the last bit wherever it is computed."""
        inexact = [self.nodes[place].name for place in places if place in self._inexact]
        if step.hashes and inexact:
            raise NotCompilableError(
                f"Feature column {name!r} is the hash of {inexact[0]!r}, which comes after a logarithm, and the last bit of a "
                "logarithm differs from processor to processor.",
                "Hash the column before LogOp, or put Bucketize between the two.",
            )

    def _filter(self, step: Any, available: Mapping[str, int], outputs: list[str]) -> dict[str, int]:
        deciding = {name: available[name] for name in step.inputs(list(available))}
        lost = {name: available[name] for name in outputs if available.get(name, 0) < 0}
        for place in deciding.values():
            if place < 0:
                raise self.refused[place]
        carried = {name: available[name] for name in outputs if name in available and name not in lost}
        kinds = {name: self.nodes[place].type for name, place in deciding.items()}
        step.keeps({name: pl.col(name) for name in deciding}, kinds)  # refuses columns of types that it does not apply to
        before = {self.nodes[place].rows for place in (*deciding.values(), *carried.values())}
        if len(before) > 1:
            raise _mixed(sorted({*deciding, *carried}))
        self.filters.append(RowFilter(step, deciding, before.pop()))
        rows = len(self.filters)
        for name, place in carried.items():
            self.nodes.append(Node(name, self.nodes[place].type, None, (place,), rows))
            carried[name] = len(self.nodes) - 1
            if place in self._inexact:
                self._inexact.add(carried[name])
        return {**carried, **lost}


def _selected(node: Any) -> Any:
    return node.input_columns.resolve(node.input_schema)


def _raw_type(schema: Any, name: str) -> ColumnType:
    found = schema.get(name)
    stored = "unknown" if found is None else str(found.dtype.without_shape.name)
    stored = "string" if stored in _STRINGS else stored
    if stored not in DTYPES:
        raise NotCompilableError(
            f"The raw column {name!r} is of type {stored}.", f"Give the workflow one of {', '.join(DTYPES)}, or lists of such."
        )
    return ColumnType(stored, bool(found.is_list))


def _mixed(columns: list[str]) -> NotCompilableError:
    return NotCompilableError(
        f"The columns {columns} are put together although an operator dropped rows of some of them only.",
        "Apply Dropna and Filter to all columns at once, before or after the rest of the graph.",
    )
