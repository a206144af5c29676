"""A plan drawn for the terminal: a tree from each raw column to the encoded columns that it ends in."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from workflows.compiler.operators.described import described
from workflows.compiler.plan.graph import Plan
from workflows.compiler.plan.show import shown_places


def draw(plan: Plan, columns: Sequence[str] | None = None) -> Group:
    """Draw a plan.

    A node that is made from several others hangs below the first of them; below the rest, its number points there.

    Args:
        plan: the plan.
        columns: encoded columns to draw with all that they are made from; None means all.

    Returns:
        One tree a raw column, ready to print.

    Raises:
        NotCompilableError: if the workflow makes no such column.
    """
    places = shown_places(plan, columns)
    endings: dict[int, list[str]] = {}
    for column in plan if columns is None else columns:
        endings.setdefault(plan.place(column), []).append(column)
    trees: dict[int, Tree] = {}
    for place in places:  # inputs come first, so that what a node hangs below is there
        label = _label(plan, place)
        for column in endings.get(place, []):
            label.append("  ═▶ ", "dim").append(f"{column}: {plan.type(column)}", "bold green")
        tree = Tree(label, guide_style="dim")
        trees[place] = tree
        for number, source in enumerate(dict.fromkeys(plan.nodes[place].inputs)):
            if number:
                trees[source].add(Text(f"↪ %{place} {plan.nodes[place].name}", "dim"))
            else:
                trees[source].children.append(tree)
    return Group(*(trees[place] for place in places if plan.nodes[place].is_raw))


def _label(plan: Plan, place: int) -> Text:
    node = plan.nodes[place]
    number = (f"%{place} ", "dim")
    if node.is_raw:
        return Text.assemble(number, (f"{node.name}: {node.type}", "bold"))
    if node.step is None:
        return Text.assemble(number, f"rows {node.rows}: {described(plan.filters[node.rows - 1].step)}")
    inputs = f"({', '.join(f'%{source}' for source in node.inputs)})" if len(node.inputs) > 1 else ""
    return Text.assemble(number, described(node.step), (inputs, "dim"))
