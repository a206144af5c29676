"""``similar_items``: the nearest items."""

from __future__ import annotations

from typing import Final

from serving.contract.tensors import BARRED, ITEM_ID, ITEMS_OUT, SCORES_OUT, StepModel, Tensor, k_tensor
from serving.ensembles.served import Declaration, Piece, Plan, ServedGraph, requires_snapshot
from serving.pieces.similar import neighbours_graph, similar_graph


def _graphs(plan: Plan) -> tuple[ServedGraph, ...]:
    if plan.sizes is None:
        return ()
    k = k_tensor(plan.sizes.max_k)
    near = Tensor("neighbours", "int64", ("B", plan.sizes.neighbours))
    cosines = Tensor("cosines", "float32", ("B", plan.sizes.neighbours))
    find = StepModel("similar_items_retrieve", (ITEM_ID, BARRED), (near, cosines))
    order = StepModel("similar_items_order", (near, cosines, k), (ITEMS_OUT, SCORES_OUT), batched=False)
    graph = ServedGraph(
        "similar_items",
        "The nearest items.",
        request=(ITEM_ID, k, BARRED),
        answer=(ITEMS_OUT, SCORES_OUT),
        pieces=(
            Piece(find, lambda parts: neighbours_graph(find, parts.shop.snapshot.catalogue, parts.shop.sizes.neighbours)),
            Piece(
                order,
                lambda parts: similar_graph(
                    order, parts.shop.snapshot.catalogue, parts.shop.sizes.neighbours, parts.shop.sizes.max_k
                ),
            ),
        ),
        question={"item_id": ["?"], "k": [1]},
        parity="serving.export.parity:check_similar_items",
    )
    return (graph,)


DECLARED: Final = Declaration("similar_items", _graphs, requires_snapshot)
