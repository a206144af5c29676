"""The items that score best, behind a model: by vectors of items, or by scores of a whole vocabulary; ids come out as the shop's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

ITEMS: Final = "top_items"
SCORES: Final = "top_scores"
_BELOW: Final = np.float32(-3.4e38)


@dataclass(frozen=True)
class TopItems:
    """Which items are answered.

    Attributes:
        output: the model's answer: a vector [B, D], or scores [B, N].
        ids: the shop's id of each item, [N] texts or int64.
        k: how many are answered.
        vectors: float32 [N, D]; None where the model gives scores.
        barred: bool [N], where there is no item, as of padding; only of scores.
    """

    output: str
    ids: npt.NDArray[Any]
    k: int
    vectors: npt.NDArray[np.float32] | None = None
    barred: npt.NDArray[np.bool_] | None = None

    @property
    def dtype(self) -> str:
        """Element type of the ids."""
        return "string" if self.ids.dtype == object else "int64"

    def expected(
        self, answer: npt.NDArray[Any], tolerance: float
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return ids, scores, and where the id is certain, [B, k] each, for a model's answer, in NumPy.

        An id is certain where the scores before and behind it, the first that is not answered included, are further than ``tolerance``
        from its own, relative where that is larger than 1.
        Where a model answers NaN, as one that is given a missing number, all scores are NaN.
        """
        scores = answer.astype(np.float32) if self.vectors is None else answer.astype(np.float32) @ self.vectors.T
        if self.barred is not None:
            scores = np.where(self.barred, _BELOW, scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self.k + 1]
        best = np.take_along_axis(scores, order, axis=1)
        padded = np.full((len(best), self.k + 2), np.inf)
        padded[:, 1 : best.shape[1] + 1] = best
        apart = np.abs(np.diff(padded, axis=1)) > tolerance * np.maximum(1.0, np.abs(padded[:, 1:]))
        apart |= ~np.isfinite(padded[:, 1:])
        broken = np.isnan(scores).any(axis=1, keepdims=True)
        certain = apart[:, :-1] & apart[:, 1:] & ~broken
        return self.ids[order[:, : self.k]], np.where(broken, np.float32(np.nan), best[:, : self.k]), certain[:, : self.k]


def with_top_items(model: onnx.ModelProto, top: TopItems) -> onnx.ModelProto:
    """Return a model that answers ``top_items`` and ``top_scores`` [B, k] in the place of the answer that they are made of."""
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    nodes, initializers = graph.graph.node, graph.graph.initializer

    def constant(name: str, value: npt.NDArray[Any]) -> str:
        full = f"top items/{name}"
        if value.dtype == object:
            texts = [str(each).encode() for each in value]
            initializers.append(TensorProto(name=full, data_type=TensorProto.STRING, dims=value.shape, string_data=texts))
        else:
            initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), full))
        return full

    scores = top.output
    if top.vectors is not None:
        nodes.append(helper.make_node("MatMul", [scores, constant("vectors", top.vectors.T)], ["top items/all"]))
        scores = "top items/all"
    if top.barred is not None:
        inputs = [constant("barred", top.barred[None]), constant("below", np.array(_BELOW)), scores]
        nodes.append(helper.make_node("Where", inputs, ["top items/open"]))
        scores = "top items/open"
    nodes.append(helper.make_node("TopK", [scores, constant("k", np.array([top.k]))], ["top items/scores", "top items/places"]))
    nodes.append(helper.make_node("Identity", ["top items/scores"], [SCORES]))
    nodes.append(helper.make_node("Gather", [constant("ids", top.ids), "top items/places"], [ITEMS]))
    kept = [value for value in graph.graph.output if value.name != top.output]
    del graph.graph.output[:]
    graph.graph.output.extend(
        [
            helper.make_tensor_value_info(
                ITEMS, TensorProto.STRING if top.dtype == "string" else TensorProto.INT64, ["B", top.k]
            ),
            helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, ["B", top.k]),
            *kept,
        ]
    )
    return graph
