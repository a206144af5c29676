"""Rank: the DLRM and the candidate ranker over every candidate, joined with the retrieval score; those that validation chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from serving.contract.tensors import StepModel
from serving.pieces.common import INFINITY, PairColumns, declare_inputs, declare_outputs, encode_columns, run_model, split
from serving.pieces.live_prices import ItemPrices
from serving.pieces.rank_lists import ListColumns, Ranker
from serving.pieces.state import Catalogue
from workflows.compiler.onnx_graph import GraphBuilder

SCORE: Final = "score"
"""Output of the candidate ranker."""


@dataclass(frozen=True)
class RankingModels:
    """What the ranking step is made of.

    Attributes:
        cross: ``workflow/cross.onnx``.
        ranking: ``models/ranking/model.onnx``.
        retrieval_weight: weight of the retrieval score beside the ranking logit.
        used: whether the ranking logit counts.
        lists: the candidate ranker; None where it does not count.
        item: ``workflow/item.onnx``, which encodes prices that are set; None where none is.
    """

    cross: onnx.ModelProto
    ranking: onnx.ModelProto
    retrieval_weight: float
    used: bool
    lists: Ranker | None = None
    item: onnx.ModelProto | None = None


def rank_graph(step: StepModel, catalogue: Catalogue, models: RankingModels, recents: int) -> onnx.ModelProto:
    """Return the graph of ``recommend_rank``: score = logit + retrieval_weight * retrieval score + that of trees, -inf for fillers."""
    graph = GraphBuilder(step.name)
    inputs = declare_inputs(graph, step)
    items, retrieved = inputs["candidates"], inputs["retrieval_scores"]
    lowest = graph.constant(-INFINITY, np.float32)
    total = graph.add("Mul", retrieved, graph.constant(models.retrieval_weight, np.float32))
    if models.used or models.lists is not None:
        prices = None if models.item is None else ItemPrices(graph, catalogue, inputs, items, models.item)
        pairs = PairColumns(graph, catalogue, inputs, items, recents, prices)
        encoded = {**pairs.query(), **pairs.item(), **encode_columns(graph, models.cross, pairs.cross())}
        shape = graph.add("Shape", items)
        if models.used:
            logit = graph.add("Reshape", run_model(graph, models.ranking, encoded, "logit"), shape)
            total = graph.add("Add", logit, total)
        if models.lists is not None:
            encoded |= _list_columns(graph, models.lists, encoded, inputs, int(step.outputs[0].shape[1]), recents)
            trees = graph.add("Reshape", run_model(graph, models.lists.trees, encoded, SCORE), shape)
            total = graph.add("Add", total, graph.add("Mul", trees, graph.constant(models.lists.weight, np.float32)))
    score = graph.add("Where", graph.add("Greater", retrieved, lowest), total, lowest)
    return declare_outputs(graph, step, {"ranking_scores": score})


def _list_columns(
    graph: GraphBuilder, ranker: Ranker, encoded: Mapping[str, str], inputs: Mapping[str, str], width: int, recents: int
) -> dict[str, str]:
    """Return the columns of the ranker that compare the candidates of a list, [B * C, 1] each."""
    items = inputs["candidates"]
    lists, shape = ListColumns(graph, items, inputs["retrieval_scores"], width), graph.add("Shape", items)
    recent = split(graph, inputs["recents"], [recents] * 3)[0]
    columns = lists.of_tables(ranker.tables, recent, recents)
    columns[ranker.named] = lists.counted([columns[name] for name in ranker.counted])
    for name, item in ranker.spreads.items():
        columns[name] = lists.in_spreads(graph.add("Reshape", encoded[item], shape))
    flat = graph.constant([-1, 1], np.int64)
    return {name: graph.add("Reshape", value, flat) for name, value in columns.items()}
