"""Serialises a plan as text, JSON, Mermaid and DOT, deterministically."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from workflows.compiler.operators.described import described, parameters
from workflows.compiler.plan.graph import Node, Plan


def shown_places(plan: Plan, columns: Sequence[str] | None = None) -> list[int]:
    """Return the places of the nodes that some encoded columns are made from, in order.

    Args:
        plan: the plan.
        columns: encoded columns; None means all.

    Raises:
        NotCompilableError: if the workflow makes no such column.
    """
    return plan.needed(plan.place(column) for column in (plan if columns is None else columns))


def as_text(plan: Plan, columns: Sequence[str] | None = None) -> str:
    """Return a plan as lines, one a node, filter or output, for example ``%5 price: float32 = Standardize(mean=…, …)(%4)``.

    The number after ``%`` is the node's place in the plan; ``columns`` leaves lines out and changes none.

    Args:
        plan: the plan.
        columns: encoded columns to show with all that they are made from; None means all.

    Raises:
        NotCompilableError: if the workflow makes no such column.
    """
    lines = []
    filters = set()
    for place in shown_places(plan, columns):
        node = plan.nodes[place]
        if node.rows and node.rows not in filters:
            filters.add(node.rows)
            lines.append(f"rows {node.rows} = {filter_line(plan, node.rows)}")
        lines.append(f"%{place} {node.name}: {node.type}{_made(node)}")
    lines += [f"output {column} = %{plan.place(column)}" for column in (plan if columns is None else columns)]
    return "\n".join(lines)


def filter_line(plan: Plan, rows: int) -> str:
    """Return which rows the filter that makes row set ``rows`` leaves, for example ``Dropna()(price=%3) of rows 0``."""
    row_filter = plan.filters[rows - 1]
    inputs = ", ".join(f"{name}=%{place}" for name, place in row_filter.inputs.items())
    return f"{described(row_filter.step)}({inputs}) of rows {row_filter.rows}"


def as_json(plan: Plan, columns: Sequence[str] | None = None) -> str:
    """Return a plan as JSON: ``nodes`` (in order, inputs first), ``filters`` and ``outputs``; arguments as in ``as_text``.

    Long parameters, such as vocabularies, are told by number and digest.
    """
    places = shown_places(plan, columns)
    content = {
        "nodes": [_json_node(place, plan.nodes[place]) for place in places],
        "filters": [
            {"rows": rows, "of": row_filter.rows, "step": described(row_filter.step), "inputs": dict(row_filter.inputs)}
            for rows, row_filter in enumerate(plan.filters, 1)
        ],
        "outputs": {column: plan.place(column) for column in (plan if columns is None else columns)},
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def as_mermaid(plan: Plan, columns: Sequence[str] | None = None) -> str:
    """Return a plan as a Mermaid flowchart, which many viewers of Markdown draw; arguments as in ``as_text``."""
    lines = ["flowchart LR"]
    for place in shown_places(plan, columns):
        opening, closing = ("([", "])") if plan.nodes[place].is_raw else ("[", "]")
        lines.append(f'  n{place}{opening}"{_mermaid(_label(plan, plan.nodes[place]))}"{closing}')
        lines += [f"  n{source} --> n{place}" for source in plan.nodes[place].inputs]
    for number, column in enumerate(plan if columns is None else columns):
        lines.append(f'  n{plan.place(column)} ==> o{number}[["{_mermaid(f"{column}: {plan.type(column)}")}"]]')
    return "\n".join(lines)


def as_dot(plan: Plan, columns: Sequence[str] | None = None) -> str:
    """Return a plan in the DOT language of Graphviz; arguments as in ``as_text``."""
    lines = ["digraph plan {", "  rankdir=LR;", "  node [shape=box];"]
    for place in shown_places(plan, columns):
        shape = ", shape=ellipse" if plan.nodes[place].is_raw else ""
        lines.append(f"  n{place} [label={_quoted(_label(plan, plan.nodes[place]))}{shape}];")
        lines += [f"  n{source} -> n{place};" for source in plan.nodes[place].inputs]
    for number, column in enumerate(plan if columns is None else columns):
        lines.append(f"  o{number} [label={_quoted(f'{column}: {plan.type(column)}')}, peripheries=2];")
        lines.append(f"  n{plan.place(column)} -> o{number};")
    return "\n".join([*lines, "}"])


def _made(node: Node) -> str:
    inputs = ", ".join(f"%{place}" for place in node.inputs)
    if node.step is not None:
        return f" = {described(node.step)}({inputs})"
    return f" = {inputs} in rows {node.rows}" if node.inputs else ""


def _label(plan: Plan, node: Node) -> str:
    if node.step is not None:
        return described(node.step)
    return f"{node.name}: {node.type}" if node.is_raw else f"{node.name} where {described(plan.filters[node.rows - 1].step)}"


def _json_node(place: int, node: Node) -> dict[str, Any]:
    told = {name: _json_value(getattr(node.step, name), text) for name, text in parameters(node.step).items()}
    return {
        "place": place,
        "name": node.name,
        "type": str(node.type),
        "step": None if node.step is None else type(node.step).__name__,
        "parameters": told,
        "inputs": list(node.inputs),
        "rows": node.rows,
    }


def _json_value(value: Any, text: str) -> Any:
    """Return a parameter as the JSON value that it is, or else as text."""
    if isinstance(value, str):
        return value if repr(value) == text else text
    finite = isinstance(value, float) and isfinite(value)
    return value if value is None or finite or isinstance(value, (bool, int)) else text


def _mermaid(text: str) -> str:
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;").replace("\n", " ")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
