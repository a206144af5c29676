"""The registry of ensembles, for export, checks, requests and documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from serving.contract.tasks import TaskForm
from serving.contract.tensors import REQUEST_TYPES, Contract, Sizes
from serving.ensembles import cart, predict, recommend, similar_items
from serving.ensembles.served import Declaration, Piece, Plan, ServedGraph

DECLARED: Final[tuple[Declaration, ...]] = (
    recommend.DECLARED,
    cart.DECLARED,
    similar_items.DECLARED,
    predict.DECLARED,
)


def served_graphs(plan: Plan) -> tuple[ServedGraph, ...]:
    """Return the ensembles of a repository."""
    return tuple(graph for declaration in DECLARED for graph in declaration.graphs(plan))


def written_plan(metadata: Mapping[str, Any]) -> Plan:
    """Return the plan of a repository from its metadata, as :meth:`Plan.to_json` put it there."""
    sizes, tasks = metadata["sizes"], metadata["tasks"]
    return Plan(Sizes(**sizes) if sizes else None, tuple(TaskForm.parsed(task) for task in tasks))


def pieces(graphs: tuple[ServedGraph, ...]) -> tuple[Piece, ...]:
    """Return the pieces of some ensembles, each once."""
    return tuple({piece.name: piece for graph in graphs for piece in graph.pieces}.values())


def contract(plan: Plan | Sizes) -> Contract:
    """Return the tensor contract of a repository; of ``Sizes``, that of a recommender alone."""
    graphs = served_graphs(plan if isinstance(plan, Plan) else Plan(plan))
    return Contract(tuple(piece.model for piece in pieces(graphs)), tuple(graph.ensemble for graph in graphs))


def markdown(plan: Plan | Sizes) -> str:
    """Return the table, in docs/tensors.md, of what each ensemble takes and gives."""
    lines = ["| ensemble | tensor | type | shape | meaning |", "|---|---|---|---|---|"]
    for ensemble in contract(plan).ensembles:
        for arrow, tensors in (("in", ensemble.inputs), ("out", ensemble.outputs)):
            for tensor in tensors:
                shape = ", ".join(str(size) for size in tensor.shape)
                need = "" if arrow == "out" or tensor.optional else " (required)"
                kind = REQUEST_TYPES[tensor.dtype]
                lines.append(f"| `{ensemble.name}` {arrow} | `{tensor.name}` | {kind} | [{shape}] | {tensor.meaning}{need} |")
    return "\n".join(lines) + "\n"
