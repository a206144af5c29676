"""Retrieve: the query tower, a dot product with every item, and the best candidates.

Exact search: on two CPU cores 100,000 items of 64 numbers take about 1.5 ms, of which the selection is 0.15 ms, so there is
nothing for an approximate index to gain at the sizes that this repository is for.
"""

from __future__ import annotations

import numpy as np
import onnx

from serving.graphs.common import INFINITY, declare_inputs, declare_outputs, run_model, size, split
from serving.snapshot import Catalogue
from serving.tensors import StepModel
from workflows.columns import QUERY_CATEGORICAL, QUERY_CONTINUOUS, QUERY_LISTS
from workflows.onnx_graph import GraphBuilder


def query_columns(graph: GraphBuilder, inputs: dict[str, str], recents: int) -> dict[str, str]:
    """Return the encoded QUERY columns by name from the packed tensors of the encode step."""
    columns: dict[str, str] = {}
    packed = (
        ("query_categorical", QUERY_CATEGORICAL, 1),
        ("query_continuous", QUERY_CONTINUOUS, 1),
        ("query_lists", QUERY_LISTS, recents),
    )
    for name, names, width in packed:
        columns.update(zip(names, split(graph, inputs[name], [width] * len(names)), strict=True))
    return columns


def retrieve_graph(
    step: StepModel, catalogue: Catalogue, tower: onnx.ModelProto, recents: int, candidates: int
) -> onnx.ModelProto:
    """Return the graph of ``recommend_retrieve``.

    Args:
        step: its tensors.
        catalogue: the items and their vectors [N, D].
        tower: ``models/two_tower/query.onnx``.
        recents: length of the query lists.
        candidates: how many items to keep, at most N.

    Returns:
        The model. Where fewer items than ``candidates`` are allowed, the last scores are -inf.
    """
    graph = GraphBuilder(step.name)
    inputs = declare_inputs(graph, step)
    vector = run_model(graph, tower, query_columns(graph, inputs, recents), "query_vector")
    # One column more than there are items: "none" and unknown items are excluded there, so that the scatter needs no branch.
    padded = np.concatenate([catalogue.vectors.T, np.zeros((catalogue.vectors.shape[1], 1), np.float32)], axis=1)
    scores = graph.add("MatMul", vector, graph.constant(np.ascontiguousarray(padded)))
    rows = graph.add("Concat", size(graph, vector, 0), graph.constant([1], np.int64), axis=0)
    none = graph.add("Expand", graph.constant([[-1]], np.int64), rows)
    excluded = graph.add("Concat", none, inputs["excluded"], axis=1)
    forbidden = graph.add("Expand", graph.constant(-INFINITY, np.float32), graph.add("Shape", excluded))
    allowed = graph.add("ScatterElements", scores, excluded, forbidden, axis=1)
    best, index = graph.add_many("TopK", 2, allowed, graph.constant([candidates], np.int64), axis=1)
    return declare_outputs(graph, step, {"candidates": index, "retrieval_scores": best})
