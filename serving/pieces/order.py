"""Order: sort, diversify over categories, truncate to k, and give reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from serving.contract.tensors import DEFAULT_K, StepModel
from serving.pieces.common import INFINITY, cast, declare_inputs, declare_outputs, split
from serving.pieces.state import Catalogue
from workflows.compiler.onnx_graph import GraphBuilder

REASON_COSINE: Final = 0.5
"""Likeness of an answered item to a recent one from which on the recent one is named as the reason."""


@dataclass(frozen=True)
class OrderRules:
    """The exported rules of ordering.

    Attributes:
        candidates: width of the candidates (C).
        recents: number of recent items in the packed ``recents``.
        max_k: the most items of an answer.
        diversity: default crowding penalty.
        max_per_category: the most items of one category; 0 sets no limit.
    """

    candidates: int
    recents: int
    max_k: int
    diversity: float
    max_per_category: int


def order_graph(step: StepModel, catalogue: Catalogue, rules: OrderRules) -> onnx.ModelProto:
    """Return the graph of ``recommend_order``.

    The crowding of a candidate is the number of better-scored candidates of its category (none for an unknown category); each
    costs ``diversity``, and from ``max_per_category`` on the candidate is dropped.
    """
    graph = GraphBuilder(step.name)
    defaults = {"k": k_default(rules.max_k), "diversity": np.array([rules.diversity], np.float32)}
    inputs = declare_inputs(graph, step, defaults)
    width = graph.constant([rules.candidates], np.int64)
    scores, order = graph.add_many("TopK", 2, inputs["ranking_scores"], width, axis=1)
    items = graph.add("GatherElements", inputs["candidates"], order, axis=1)
    brought = graph.add("GatherElements", inputs["brought_by"], order, axis=1)
    scores = _spread(graph, catalogue, rules, scores, items, inputs["diversity"])
    missing = max(0, rules.max_k - rules.candidates)
    scores, items = pad_columns(graph, scores, missing, -INFINITY), pad_columns(graph, items, missing, np.int64(-1))
    brought = pad_columns(graph, brought, missing, np.int64(0))
    scores, items, chosen = first_k(graph, scores, items, inputs["k"], rules.max_k)
    brought = graph.add("GatherElements", brought, chosen, axis=1)
    real = graph.add("Greater", items, graph.constant(-1, np.int64))
    brought = graph.add("Where", real, brought, graph.constant(0, np.int64))
    ids = graph.constant(np.array([*catalogue.ids, ""], dtype=object))
    reason, because = _reasons(
        graph, catalogue, items, split(graph, inputs["recents"], [rules.recents] * 3)[0], inputs["known_user"]
    )
    values = {
        "items": graph.add("Gather", ids, items, axis=0),
        "scores": scores,
        "reason": cast(graph, reason, onnx.TensorProto.INT32),
        "reason_item": graph.add("Gather", ids, because, axis=0),
        "retrievers": cast(graph, brought, onnx.TensorProto.INT32),
    }
    return declare_outputs(graph, step, values)


def k_default(max_k: int) -> npt.NDArray[np.int32]:
    """Return the default of the input ``k``."""
    return np.array([min(DEFAULT_K, max_k)], np.int32)


def pad_columns(graph: GraphBuilder, value: str, columns: int, filler: Any) -> str:
    """Append ``columns`` columns of ``filler`` to ``value`` [B, W]."""
    if columns == 0:
        return value
    return graph.add("Pad", value, graph.constant([0, 0, 0, columns], np.int64), graph.constant(filler))


def first_k(graph: GraphBuilder, scores: str, items: str, k: str, max_k: int) -> tuple[str, str, str]:
    """Return the ``k`` best (score, item) of each row and their places in it; an item scored -inf becomes "none".

    Args:
        graph: where to.
        scores: float32 [B, W], W >= max_k.
        items: int64 [B, W].
        k: int32 [1], brought into 1 .. max_k.
        max_k: the most items of an answer.
    """
    wanted = cast(graph, k, onnx.TensorProto.INT64)
    within = graph.add("Min", graph.add("Max", wanted, graph.constant([1], np.int64)), graph.constant([max_k], np.int64))
    best, index = graph.add_many("TopK", 2, scores, within, axis=1)
    chosen = graph.add("GatherElements", items, index, axis=1)
    real = graph.add("Greater", best, graph.constant(-INFINITY, np.float32))
    return best, graph.add("Where", real, chosen, graph.constant(-1, np.int64)), index


def _spread(graph: GraphBuilder, catalogue: Catalogue, rules: OrderRules, scores: str, items: str, diversity: str) -> str:
    """Return the sorted scores after the crowding penalty and the cap.

    Comparing every pair of candidates costs as much as the rest of this step, so without a penalty or a cap only the best
    candidate, which nothing crowds, is compared.
    """
    one, two = graph.constant([1], np.int64), graph.constant([2], np.int64)
    every = graph.constant([rules.candidates], np.int64)
    compared = every
    if rules.max_per_category == 0:
        compared = graph.add("Where", graph.add("Greater", diversity, graph.constant([0], np.float32)), every, one)
    zero = graph.constant([0], np.int64)
    codes = graph.add("Gather", graph.constant(catalogue.category_codes), items, axis=0)
    codes = graph.add("Slice", codes, zero, compared, one)
    same = graph.add("Equal", graph.add("Unsqueeze", codes, two), graph.add("Unsqueeze", codes, one))
    earlier = graph.constant(np.tri(rules.candidates, k=-1, dtype=np.float32))
    for axis in (zero, one):
        earlier = graph.add("Slice", earlier, zero, compared, axis)
    better = graph.add("ReduceSum", graph.add("Mul", cast(graph, same, onnx.TensorProto.FLOAT), earlier), two, keepdims=0)
    categorised = graph.add("Greater", codes, graph.constant(0, np.int64))
    crowding = graph.add("Where", categorised, better, graph.constant(0, np.float32))
    rest = graph.add("Concat", zero, zero, zero, graph.add("Sub", every, compared), axis=0)
    crowding = graph.add("Pad", crowding, rest, graph.constant(0, np.float32))
    spread = graph.add("Sub", scores, graph.add("Mul", crowding, diversity))
    if rules.max_per_category == 0:
        return spread
    full = graph.add("GreaterOrEqual", crowding, graph.constant(rules.max_per_category, np.float32))
    return graph.add("Where", full, graph.constant(-INFINITY, np.float32), spread)


def _reasons(graph: GraphBuilder, catalogue: Catalogue, items: str, recents: str, known: str) -> tuple[str, str]:
    """Return the reason code (int64 [B, k]) and the recent item that explains it (int64 [B, k], -1 for none)."""
    directions = graph.constant(catalogue.directions)
    answered = graph.add("Gather", directions, items, axis=0)
    looked_at = graph.add("Transpose", graph.add("Gather", directions, recents, axis=0), perm=[0, 2, 1])
    cosine = graph.add("MatMul", answered, looked_at)
    index = graph.add("ArgMax", cosine, axis=2, keepdims=0, select_last_index=1)
    likeness = graph.add("ReduceMax", cosine, axes=[2], keepdims=0)
    like = graph.add("GreaterOrEqual", likeness, graph.constant(REASON_COSINE, np.float32))
    shape = graph.add("Shape", items)
    taste = graph.add("Where", graph.add("Greater", known, graph.constant(0, np.int64)),
                      graph.constant(2, np.int64), graph.constant(0, np.int64))  # fmt: skip
    reason = graph.add("Where", like, graph.constant(1, np.int64), graph.add("Expand", taste, shape))
    none = graph.constant(-1, np.int64)
    real = graph.add("Greater", items, none)
    because = graph.add("Where", like, graph.add("GatherElements", recents, index, axis=1), none)
    return graph.add("Where", real, reason, graph.constant(0, np.int64)), because
