"""``recommend``: the best items for a shopper."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from serving.contract.tensors import (
    BARRED,
    DIVERSITY,
    EVENTS,
    EXCLUDE,
    ITEMS_OUT,
    PRICED,
    PRICES,
    REASON_ITEM_OUT,
    REASON_OUT,
    RECENT_ITEMS,
    RETRIEVERS_OUT,
    SCORES_OUT,
    TIMESTAMP,
    USER_ID,
)
from serving.ensembles.served import Declaration, Plan, ServedGraph, requires_snapshot
from serving.ensembles.steps import RecommenderSteps


def _graphs(plan: Plan) -> tuple[ServedGraph, ...]:
    if plan.sizes is None:
        return ()
    steps = RecommenderSteps(plan.sizes)
    asked = replace(USER_ID, optional=False)  # Triton cannot run a first step that is given no input at all
    graph = ServedGraph(
        "recommend",
        "The items that suit a shopper best.",
        request=(asked, RECENT_ITEMS, *EVENTS, EXCLUDE, TIMESTAMP, steps.k, DIVERSITY, BARRED, PRICED, PRICES),
        answer=(ITEMS_OUT, SCORES_OUT, REASON_OUT, REASON_ITEM_OUT, RETRIEVERS_OUT),
        pieces=steps.pieces(),
        question={"user_id": [""], "k": [1]},
        parity="serving.export.parity:check_recommend",
    )
    return (graph,)


DECLARED: Final = Declaration("recommend", _graphs, requires_snapshot)
