"""Similar items: the nearest item vectors by cosine."""

from __future__ import annotations

import numpy as np
import onnx

from serving.contract.tensors import BARRED, StepModel
from serving.pieces.common import INFINITY, barred_places, declare_inputs, declare_outputs, item_index, size
from serving.pieces.order import first_k, k_default, pad_columns
from serving.pieces.state import Catalogue
from serving.pieces.top import barred, best, score_columns
from workflows.compiler.onnx_graph import GraphBuilder


def neighbours_graph(step: StepModel, catalogue: Catalogue, neighbours: int) -> onnx.ModelProto:
    """Return the graph of ``similar_items_retrieve``.

    An unknown item has no vector, and one that the retrieval model did not learn may have none but 0: it is answered with the most popular
    items, and its scores are 0 (no similarity is known).

    Args:
        step: its tensors.
        catalogue: items, vectors and popularity.
        neighbours: how many items to find, at most N.
    """
    graph = GraphBuilder(step.name)
    inputs = declare_inputs(graph, step, {BARRED.name: np.zeros((1, 1), np.int32)})
    index = item_index(graph, catalogue, inputs["item_id"])
    count = len(catalogue.ids)
    columns = score_columns(count, neighbours)
    directions = np.zeros((catalogue.vectors.shape[1], columns), np.float32)
    directions[:, : count + 1] = catalogue.directions.T
    popularity = np.zeros((1, columns), np.float32)
    popularity[0, : count + 1] = catalogue.popularity
    rows = graph.add("Squeeze", index, graph.constant([1], np.int64))
    table = graph.constant(directions)
    vector = graph.add("Transpose", graph.add("Gather", table, rows, axis=1), perm=[1, 0])
    cosine = graph.add("MatMul", vector, table)
    known = graph.add("Gather", graph.constant(directions.any(axis=0)), index, axis=0)
    scores = graph.add("Where", known, cosine, graph.constant(popularity))
    # The item itself is never answered.
    places = barred_places(graph, inputs[BARRED.name], count)
    shape = graph.add("Concat", size(graph, index, 0), graph.constant([1], np.int64), axis=0)
    excluded = graph.add("Concat", index, graph.add("Expand", places, shape), axis=1)
    top, near = best(graph, barred(graph, scores, excluded, count, columns), neighbours, columns)
    nothing = graph.add("Equal", top, graph.constant(-INFINITY, np.float32))
    shown = graph.add("Where", graph.add("Or", known, nothing), top, graph.constant(0, np.float32))
    return declare_outputs(graph, step, {"neighbours": near, "cosines": shown})


def similar_graph(step: StepModel, catalogue: Catalogue, neighbours: int, max_k: int) -> onnx.ModelProto:
    """Return the graph of ``similar_items_order``: the first ``k`` neighbours and their ids."""
    graph = GraphBuilder(step.name)
    inputs = declare_inputs(graph, step, {"k": k_default(max_k)})
    missing = max(0, max_k - neighbours)
    items = pad_columns(graph, inputs["neighbours"], missing, np.int64(-1))
    scores = pad_columns(graph, inputs["cosines"], missing, -INFINITY)
    scores, items, _ = first_k(graph, scores, items, inputs["k"], max_k)
    ids = graph.add("Gather", graph.constant(np.array([*catalogue.ids, ""], dtype=object)), items, axis=0)
    return declare_outputs(graph, step, {"items": ids, "scores": scores})
