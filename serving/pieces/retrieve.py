"""Retrieve: query vectors, a dot product with every item, what popularity and neighbours add, and the best candidates.

Factor models that count beside the retrieval model have vectors too. A weighted sum of dot products is the dot product of the vectors
joined one behind the other, with the weights in the query's, so one search serves them all.

Exact search: 100,000 items of 64 numbers take about 2 ms on one CPU core, the time that reading them from memory takes, and 0.6 ms
where ``serving.pieces.scan`` reads less, so there is little for an approximate index to gain at the sizes that this repository is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from serving.contract.tensors import StepModel
from serving.pieces.brought import NEIGHBOURS, OWN, POPULARITY, Parts, brought_by
from serving.pieces.common import cast, declare_inputs, declare_outputs, run_model, split
from serving.pieces.neighbours import Additions, ItemBases
from serving.pieces.scan import AGAIN, SCAN_ITEMS, nearest, padded_rows
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
class FactorModel:
    """A factor model whose scores are added.

    Attributes:
        query: from ``user_id``, the shopper's row in the snapshot [B, 1], and ``recent_items``, catalogue indices + 1 with 0 for none
            [B, L], to ``query_vector``, of which the first D numbers count.
        items: float32 [N, D].
        weight: float32 [2], for shoppers without a history and for those with one.
        name: what answers call it.
    """

    query: onnx.ModelProto
    items: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    name: str = "factors"


@dataclass(frozen=True)
class RetrievalModels:
    """What the retrieval step is made of.

    Attributes:
        tower: ``query.onnx`` of the retrieval model.
        bases: what is added for every history; None where the dot product is the score.
        tables: the items that go together.
        factors: factor models that count beside it, where there are ``bases``, which hold their biases.
    """

    tower: onnx.ModelProto
    bases: Bases | None = None
    tables: tuple[NeighbourTable, ...] = ()
    factors: tuple[FactorModel, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The retrievers, in the order of their bits in ``brought_by``."""
        dense = (OWN, *(model.name for model in self.factors)) if self.bases is not None else (OWN,)
        return (*dense, *((POPULARITY,) if self.bases is not None else ()), *((NEIGHBOURS,) if self.tables else ()))


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
    vectors, bases, widths = catalogue.vectors, None, [catalogue.vectors.shape[1]]
    if models.bases is not None:
        known = _has_history(graph, recent)
        parts = [(vector, catalogue.vectors, models.bases.retrieval)]
        parts += [(_factors(graph, each, inputs["shopper"], recent), each.items, each.weight) for each in models.factors]
        vector, vectors = _joined(graph, parts, known)
        widths = [of_items.shape[1] for _, of_items, _ in parts]
        bases = ItemBases(models.bases.items, known)
    items, dimension = vectors.shape
    added = Additions(graph, models.tables, recent, recents) if models.tables else None
    if integers and items >= SCAN_ITEMS and AGAIN * candidates <= items:
        similarity, index = nearest(graph, vector, vectors, inputs["excluded"], candidates, added, bases)
        held = Parts(vector, padded_rows(vectors), widths, bases, added is not None)
        return _answered(graph, step, held, index, similarity)
    # More columns than items: "none" and unknown items are barred there, so that the scatter needs no branch.
    columns = score_columns(items, candidates)
    padded = np.zeros((dimension, columns), np.float32)
    padded[:, :items] = vectors.T
    scores = graph.add("MatMul", vector, graph.constant(padded))
    if bases is not None:
        scores = graph.add("Add", scores, bases.of(graph, columns))
    if added is not None:
        scores = added.to(graph, scores)
    similarity, index = best(graph, barred(graph, scores, inputs["excluded"], items, columns), candidates, columns)
    return _answered(graph, step, Parts(vector, vectors, widths, bases, added is not None), index, similarity)


def _answered(graph: GraphBuilder, step: StepModel, parts: Parts, index: str, similarity: str) -> onnx.ModelProto:
    brought = brought_by(graph, parts, index, similarity)
    return declare_outputs(graph, step, {"candidates": index, "retrieval_scores": similarity, "brought_by": brought})


def _has_history(graph: GraphBuilder, recent: str) -> str:
    """Return 1 for each query with a recent item and 0 for others, int64 [B]."""
    held = cast(graph, graph.add("GreaterOrEqual", recent, graph.constant(0, np.int64)), onnx.TensorProto.INT64)
    return graph.add("ReduceMax", held, axes=[1], keepdims=0)


def _factors(graph: GraphBuilder, model: FactorModel, shopper: str, recent: str) -> str:
    """Return the query vectors of a factor model, float32 [B, D]."""
    places = graph.add("Add", recent, graph.constant(1, np.int64))
    read = {value.name for value in model.query.graph.input}
    asked = {name: value for name, value in (("user_id", shopper), ("recent_items", places)) if name in read}
    found = run_model(graph, model.query, asked, "query_vector")
    one = graph.constant([1], np.int64)
    return graph.add("Slice", found, graph.constant([0], np.int64), graph.constant([model.items.shape[1]], np.int64), one)


def _joined(
    graph: GraphBuilder, parts: Sequence[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float32]]], known: str
) -> tuple[str, npt.NDArray[np.float32]]:
    """Join vectors, so that the product of query and item is the weighted sum of the products of the parts.

    Items of all parts are brought to one scale, for the search by integers has one unit for all numbers of an item.

    Args:
        graph: where to.
        parts: query vectors [B, d], item vectors [N, d] and weights [2] of each part.
        known: the weight that each query takes, int64 [B].

    Returns:
        Query vectors [B, D] and item vectors [N, D].
    """
    unit = _scale(parts[0][1])
    queries, items = [], []
    for vector, of_items, weight in parts:
        scale = unit / _scale(of_items)
        weights = graph.constant((weight / scale).astype(np.float32).reshape(2, 1))
        queries.append(graph.add("Mul", vector, graph.add("Gather", weights, known, axis=0)))
        items.append(of_items * scale)
    joined = graph.add("Concat", *queries, axis=1) if len(queries) > 1 else queries[0]
    return joined, np.concatenate(items, axis=1)


def _scale(items: npt.NDArray[np.float32]) -> np.float32:
    """Return the root of the mean square of the numbers, 1 where all are 0."""
    return np.float32(np.sqrt(np.mean(np.square(items, dtype=np.float64))) or 1.0)
