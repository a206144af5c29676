"""Similar items: the nearest item vectors by cosine."""

from __future__ import annotations

import numpy as np
import onnx

from serving.graphs.common import INFINITY, declare_inputs, declare_outputs, item_index, size
from serving.graphs.order import first_k, k_default, pad_columns
from serving.snapshot import Catalogue
from serving.tensors import StepModel
from workflows.onnx_graph import GraphBuilder


def neighbours_graph(step: StepModel, catalogue: Catalogue, neighbours: int) -> onnx.ModelProto:
    """Return the graph of ``similar_items_retrieve``.

    An unknown item has no vector: it is answered with the most popular items, and its scores are 0 (no likeness is known).

    Args:
        step: its tensors.
        catalogue: items, vectors and popularity.
        neighbours: how many items to find, at most N.
    """
    graph = GraphBuilder(step.name)
    inputs = declare_inputs(graph, step)
    index = item_index(graph, catalogue, inputs["item_id"])
    directions = catalogue.directions
    rows = graph.add("Squeeze", index, graph.constant([1], np.int64))
    vector = graph.add("Gather", graph.constant(directions), rows, axis=0)
    cosine = graph.add("MatMul", vector, graph.constant(np.ascontiguousarray(directions.T)))
    count = len(catalogue.ids)
    known = graph.add("And", graph.add("GreaterOrEqual", index, graph.constant(0, np.int64)),
                      graph.add("Less", index, graph.constant(count, np.int64)))  # fmt: skip
    popularity = graph.constant(catalogue.popularity.reshape(1, -1))
    scores = graph.add("Where", known, cosine, popularity)
    # The item itself and the row of unknown items are never answered.
    shape = graph.add("Concat", size(graph, index, 0), graph.constant([1], np.int64), axis=0)
    barred = graph.add("Concat", index, graph.add("Expand", graph.constant([[count]], np.int64), shape), axis=1)
    forbidden = graph.add("Expand", graph.constant(-INFINITY, np.float32), graph.add("Shape", barred))
    allowed = graph.add("ScatterElements", scores, barred, forbidden, axis=1)
    best, index = graph.add_many("TopK", 2, allowed, graph.constant([neighbours], np.int64), axis=1)
    real = graph.add("Greater", best, graph.constant(-INFINITY, np.float32))
    shown = graph.add("Where", graph.add("Or", known, graph.add("Not", real)), best, graph.constant(0, np.float32))
    return declare_outputs(graph, step, {"neighbours": index, "cosines": shown})


def similar_graph(step: StepModel, catalogue: Catalogue, neighbours: int, max_k: int) -> onnx.ModelProto:
    """Return the graph of ``similar_items_order``: the first ``k`` neighbours and their ids."""
    graph = GraphBuilder(step.name)
    inputs = declare_inputs(graph, step, {"k": k_default(max_k)})
    missing = max(0, max_k - neighbours)
    items = pad_columns(graph, inputs["neighbours"], missing, np.int64(-1))
    scores = pad_columns(graph, inputs["cosines"], missing, -INFINITY)
    scores, items = first_k(graph, scores, items, inputs["k"], max_k)
    ids = graph.add("Gather", graph.constant(np.array([*catalogue.ids, ""], dtype=object)), items, axis=0)
    return declare_outputs(graph, step, {"items": ids, "scores": scores})
