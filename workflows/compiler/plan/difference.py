"""Differences between two plans, as readable lines: ``+`` for new, ``-`` for gone, ``~`` for changed.

Columns are compared by name, and the steps on the way to a column in their order, so that a step put in between shifts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any

from workflows.compiler.operators.categorify import Lookup
from workflows.compiler.operators.described import described, parameters
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.vocabularies import compare_vocabularies


def difference(before: Plan, after: Plan) -> list[str]:
    """Compare two plans.

    Args:
        before: the plan that was.
        after: the plan that is.

    Returns:
        One line a change, each change once; none if and only if both make the same columns of the same raw columns in the same way.
    """
    lines = [*_raw_columns(before.raw, after.raw), *_outputs(before, after), *_filters(before, after)]
    shapes: dict[Any, int] = {}
    was, now = _shapes(before, shapes), _shapes(after, shapes)
    told: set[str] = set(lines)
    for column in before:
        if column not in after or was[before.place(column)] == now[after.place(column)]:
            continue
        changes = list(_column(before, after, column)) or [f"~ {column}: the same steps, of other columns or in other places"]
        lines += [line for line in dict.fromkeys(changes) if line not in told]
        told.update(changes)
    if not lines and list(before) != list(after):
        lines.append(f"~ order of the columns: {', '.join(before)} -> {', '.join(after)}")
    return lines


def _raw_columns(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"- raw column {name}: {kind}" for name, kind in was.items() if name not in now)
    yield from (f"+ raw column {name}: {kind}" for name, kind in now.items() if name not in was)
    yield from (f"~ raw column {name}: {was[name]} -> {now.get(name)}" for name in was if name in now and was[name] != now[name])


def _outputs(before: Plan, after: Plan) -> Iterator[str]:
    yield from (f"- column {_chain(before, name)}" for name in before if name not in after)
    yield from (f"+ column {_chain(after, name)}" for name in after if name not in before)
    for name in before:
        if name in after and before.type(name) != after.type(name):
            yield f"~ column {name}: {before.type(name)} -> {after.type(name)}"


def _chain(plan: Plan, column: str) -> str:
    steps = "".join(f" > {described(step)}" for step in plan.steps(column))
    return f"{column}: {plan.type(column)} = {', '.join(plan.sources(column))}{steps}"


def _filters(before: Plan, after: Plan) -> Iterator[str]:
    was = [described(row_filter.step) for row_filter in before.filters]
    now = [described(row_filter.step) for row_filter in after.filters]
    for kind, start, end, new_start, new_end in SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if kind != "equal":
            yield from (f"- rows: {line}" for line in was[start:end])
            yield from (f"+ rows: {line}" for line in now[new_start:new_end])


def _shapes(plan: Plan, known: dict[Any, int]) -> list[int]:
    """Number each node by how it is computed: equal numbers, equal computation, in this plan and in others that share ``known``."""
    filters: list[Any] = []
    numbers: list[int] = []
    for node in plan.nodes:
        while len(filters) < node.rows:  # what a filter reads stands before the first node that it leaves
            row_filter = plan.filters[len(filters)]
            above = filters[row_filter.rows - 1] if row_filter.rows else None
            inputs = tuple((name, numbers[place]) for name, place in row_filter.inputs.items())
            filters.append((described(row_filter.step), inputs, above))
        name = node.name if node.is_raw else ""
        step = "" if node.step is None else described(node.step)
        rows = filters[node.rows - 1] if node.rows else None
        shape = (name, str(node.type), step, tuple(numbers[place] for place in node.inputs), rows)
        numbers.append(known.setdefault(shape, len(known)))
    return numbers


def _column(before: Plan, after: Plan, column: str) -> Iterator[str]:
    """Compare the steps on the way to a column that both plans make."""
    was, now = _way(before, column), _way(after, column)
    matcher = SequenceMatcher(None, _kinds(was), _kinds(now), autojunk=False)
    for kind, start, end, new_start, new_end in matcher.get_opcodes():
        if kind == "equal":
            for old, new in zip(was[start:end], now[new_start:new_end], strict=True):
                yield from _step(old, new)
        else:
            yield from (f"- {node.name}: {described(node.step)}" for node in was[start:end] if node.step)
            yield from (f"+ {node.name}: {described(node.step)}" for node in now[new_start:new_end] if node.step)


def _way(plan: Plan, column: str) -> list[Node]:
    nodes = [plan.nodes[place] for place in plan.needed([plan.place(column)])]
    return [node for node in nodes if node.step is not None]


def _kinds(way: list[Node]) -> list[tuple[str, str]]:
    return [(type(node.step).__name__, node.name) for node in way]


def _step(old: Node, new: Node) -> Iterator[str]:
    """Compare two steps of one class."""
    was, now = parameters(old.step), parameters(new.step)
    changed = [name for name in was if was[name] != now.get(name)]
    if isinstance(old.step, Lookup) and isinstance(new.step, Lookup) and {"keys", "first"}.intersection(changed):
        changed = [name for name in changed if name != "keys"]
        yield f"~ vocabulary {new.step.domain}: {compare_vocabularies(old.step, new.step)}"
    if changed:
        told = ", ".join(f"{name} {was[name]} -> {now.get(name)}" for name in changed)
        yield f"~ {new.name}: {type(new.step).__name__} {told}"
