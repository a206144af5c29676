"""``cart``: purchase probabilities of a cart and its lines, and items that complete it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import onnx

from serving.contract.tensors import (
    AFTER,
    BARRED,
    CART_ITEMS,
    CART_OUT,
    EVENTS,
    ITEMS_OUT,
    LINES_OUT,
    PRICED,
    PRICED_NOW,
    PRICES,
    PRICES_NOW,
    RECENT_ITEMS,
    SCORES_OUT,
    TIMESTAMP,
    USER_ID,
    Join,
    StepModel,
)
from serving.ensembles.served import Declaration, Parts, Piece, Plan, ServedGraph, requires_snapshot
from serving.ensembles.steps import RecommenderSteps
from serving.pieces.cart import cart_graph


def _graphs(plan: Plan) -> tuple[ServedGraph, ...]:
    if plan.sizes is None:
        return ()
    steps, scored = RecommenderSteps(plan.sizes), plan.sizes.has_cart
    pieces = (*steps.pieces(), *((_score(steps),) if scored else ()))
    graph = ServedGraph(
        "cart",
        "What of a cart will be bought, and what completes it.",
        request=(USER_ID, RECENT_ITEMS, *EVENTS, CART_ITEMS, TIMESTAMP, steps.k, BARRED, PRICED, PRICES),
        answer=(*((LINES_OUT, CART_OUT) if scored else ()), ITEMS_OUT, SCORES_OUT),
        pieces=pieces,
        question={"cart_items": [""], "k": [1]},
        parity="serving.export.parity:check_cart",
    )
    return (_in_turn(graph),)


def _score(steps: RecommenderSteps) -> Piece:
    inputs = (
        steps.categorical, steps.continuous, steps.recents, steps.mean_price, steps.cart_index, steps.cart_counts, steps.form, AFTER,
        PRICED_NOW, PRICES_NOW,
    )  # fmt: skip
    model = StepModel("cart_score", inputs, (LINES_OUT, CART_OUT), trim={"line_probability": "cart_index"})

    def build(parts: Parts) -> onnx.ModelProto:
        shop = parts.shop
        assert shop.models.cart is not None
        return cart_graph(model, shop.snapshot.catalogue, shop.models.cart, shop.sizes.recents)

    return Piece(model, build)


def _in_turn(graph: ServedGraph) -> ServedGraph:
    """Return the ensemble whose last step waits for the one before: see ``AFTER``."""
    joins = [
        Join(join.model, {**join.inputs, AFTER.name: SCORES_OUT.name}, join.outputs) if join.model == "cart_score" else join
        for join in graph.ensemble.steps
    ]
    return replace(graph, joins=tuple(joins))


DECLARED: Final = Declaration("cart", _graphs, requires_snapshot)
