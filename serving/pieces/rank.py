"""Rank: the DLRM over every candidate, joined with the retrieval score; the latter alone where validation says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from serving.contract.tensors import StepModel
from serving.pieces.common import INFINITY, PairColumns, declare_inputs, declare_outputs, encode_columns, run_model
from serving.pieces.state import Catalogue
from workflows.compiler.onnx_graph import GraphBuilder


@dataclass(frozen=True)
class RankingModels:
    """What the ranking step is made of.

    Attributes:
        cross: ``workflow/cross.onnx``.
        ranking: ``models/ranking/model.onnx``.
        retrieval_weight: weight of the retrieval score beside the ranking logit.
        used: whether the ranking logit counts.
    """

    cross: onnx.ModelProto
    ranking: onnx.ModelProto
    retrieval_weight: float
    used: bool


def rank_graph(step: StepModel, catalogue: Catalogue, models: RankingModels, recents: int) -> onnx.ModelProto:
    """Return the graph of ``recommend_rank``: score = logit + retrieval_weight * retrieval score, -inf for fillers."""
    graph = GraphBuilder(step.name)
    inputs = declare_inputs(graph, step)
    items, retrieved = inputs["candidates"], inputs["retrieval_scores"]
    lowest = graph.constant(-INFINITY, np.float32)
    total = graph.add("Mul", retrieved, graph.constant(models.retrieval_weight, np.float32))
    if models.used:
        pairs = PairColumns(graph, catalogue, inputs, items, recents)
        encoded = {**pairs.query(), **pairs.item(), **encode_columns(graph, models.cross, pairs.cross())}
        logit = graph.add("Reshape", run_model(graph, models.ranking, encoded, "logit"), graph.add("Shape", items))
        total = graph.add("Add", logit, total)
    score = graph.add("Where", graph.add("Greater", retrieved, lowest), total, lowest)
    return declare_outputs(graph, step, {"ranking_scores": score})
