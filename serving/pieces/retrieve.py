"""Retrieve: the query vector, a dot product with every item, what popularity and neighbours add, and the best candidates.

Exact search: 100,000 items of 64 numbers take about 2 ms on one CPU core, the time that reading them from memory takes, and 0.6 ms
where ``serving.pieces.scan`` reads less, so there is little for an approximate index to gain at the sizes that this repository is for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from serving.contract.tensors import StepModel
from serving.pieces.common import cast, declare_inputs, declare_outputs, run_model, split
from serving.pieces.neighbours import Additions, ItemBases
from serving.pieces.scan import AGAIN, SCAN_ITEMS, nearest
from serving.pieces.state import Catalogue, NeighbourTable
from serving.pieces.top import barred, best, score_columns
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.columns import QUERY_LISTS
from workflows.features.feature_set import FeatureSet


def query_columns(graph: GraphBuilder, inputs: dict[str, str], recents: int, features: FeatureSet) -> dict[str, str]:
    """Return the encoded columns of the query by name from the packed tensors of the encode step."""
    columns: dict[str, str] = {}
    packed = (
        ("query_categorical", features.query_categorical, 1),
        ("query_continuous", features.query_continuous, 1),
        ("query_lists", QUERY_LISTS, recents),
    )
    for name, names, width in packed:
        columns.update(zip(names, split(graph, inputs[name], [width] * len(names)), strict=True))
    return columns


@dataclass(frozen=True)
class Bases:
    """What counts whatever the history holds, for shoppers without a history and for those with one.

    Attributes:
        items: float32 [2, N], added to the score of each item.
        retrieval: float32 [2], weight of the dot product.
    """

    items: npt.NDArray[np.float32]
    retrieval: npt.NDArray[np.float32]


@dataclass(frozen=True)
class RetrievalModels:
    """What the retrieval step is made of.

    Attributes:
        tower: ``query.onnx`` of the retrieval model.
        bases: what is added for every history; None where the dot product is the score.
        tables: the items that go together.
    """

    tower: onnx.ModelProto
    bases: Bases | None = None
    tables: tuple[NeighbourTable, ...] = ()


def retrieve_graph(
    step: StepModel, catalogue: Catalogue, models: RetrievalModels, recents: int, candidates: int, *, integers: bool = True
) -> onnx.ModelProto:
    """Return the graph of ``recommend_retrieve``.

    Args:
        step: its tensors.
        catalogue: the items and their vectors [N, D].
        models: what scores the items.
        recents: length of the query lists.
        candidates: how many items to keep, at most N.
        integers: whether a large catalogue may be searched with integers first, which processors are good at and GPUs are not.

    Returns:
        The model. Where fewer items than ``candidates`` are allowed, the last scores are -inf.
    """
    graph = GraphBuilder(step.name)
    inputs = declare_inputs(graph, step)
    vector = run_model(graph, models.tower, query_columns(graph, inputs, recents, catalogue.features), "query_vector")
    recent = split(graph, inputs["recents"], [recents] * 3)[0]
    vector, bases = _weighed(graph, vector, models.bases, recent)
    items, dimension = catalogue.vectors.shape
    added = Additions(graph, models.tables, recent, recents) if models.tables else None
    if integers and items >= SCAN_ITEMS and AGAIN * candidates <= items:
        similarity, index = nearest(graph, vector, catalogue.vectors, inputs["excluded"], candidates, added, bases)
        return declare_outputs(graph, step, {"candidates": index, "retrieval_scores": similarity})
    # More columns than items: "none" and unknown items are barred there, so that the scatter needs no branch.
    columns = score_columns(items, candidates)
    padded = np.zeros((dimension, columns), np.float32)
    padded[:, :items] = catalogue.vectors.T
    scores = graph.add("MatMul", vector, graph.constant(padded))
    if bases is not None:
        scores = graph.add("Add", scores, bases.of(graph, columns))
    if added is not None:
        scores = added.to(graph, scores)
    similarity, index = best(graph, barred(graph, scores, inputs["excluded"], items, columns), candidates, columns)
    return declare_outputs(graph, step, {"candidates": index, "retrieval_scores": similarity})


def _weighed(graph: GraphBuilder, vector: str, bases: Bases | None, recent: str) -> tuple[str, ItemBases | None]:
    """Return the query vector times its weight, and what is added to every item."""
    if bases is None:
        return vector, None
    held = cast(graph, graph.add("GreaterOrEqual", recent, graph.constant(0, np.int64)), onnx.TensorProto.INT64)
    known = graph.add("ReduceMax", held, axes=[1], keepdims=0)
    weight = graph.add("Gather", graph.constant(bases.retrieval.reshape(2, 1)), known, axis=0)
    return graph.add("Mul", vector, weight), ItemBases(bases.items, known)
