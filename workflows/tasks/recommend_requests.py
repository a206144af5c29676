"""The test examples of "recommend" once more, as requests would ask them: of strangers, and of users as the last refresh knew them."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from workflows.events.asof import Ints
from workflows.events.event_log import EventLog
from workflows.features.columns import FORMS
from workflows.features.item import ItemHistory
from workflows.features.requests import Requests, request_queries
from workflows.features.shopper import Queries, ShopperFeatures
from workflows.settings import PrepareSettings
from workflows.tasks.cart import Carts
from workflows.tasks.cart_requests import possible_forms, requests_of, session_items
from workflows.tasks.leave_out import LeftOut, left_out_lists
from workflows.tasks.recommend import RecommendExamples, recommend_frame

RECOMMEND_REQUESTS: Final = "recommend_requests"
"""Table of the test split: its recommend examples, asked for as ``form`` says."""


def recommend_requests(
    log: EventLog,
    history: ShopperFeatures,
    items: ItemHistory,
    examples: RecommendExamples,
    settings: PrepareSettings,
    left_out: LeftOut,
) -> pl.DataFrame:
    """Ask for each example in every form in which it can be asked for.

    A form is left out for an example as for a cart (``cart_requests``). What is true stays what it is. What is left out is what a server
    would leave out, which knows of a stranger nothing but what the request tells.

    Args:
        log: the coded events.
        history: their interactions.
        items: the item statistics.
        examples: those of the test split.
        settings: how features are computed.
        left_out: the rule of what is left out.

    Returns:
        The columns of ``recommend_frame``, and in ``form`` one of ``columns.FORMS``.
    """
    none = np.empty(0, dtype=np.int64)
    asked = Carts(examples.anchors.key, examples.anchors.anchor, none, none, none.astype(bool))
    session = session_items(history, asked, settings)
    row, form = np.nonzero(possible_forms(history, asked, session, settings))
    requests, _ = requests_of(history, asked, row, form, session, settings)
    longer, queries = request_queries(log, history, items, requests, settings.state_minutes)
    hidden = _hidden(log, history, longer, requests, queries, left_out)
    frame = recommend_frame(log, history, items, examples, settings)[row].with_columns(
        longer.frame(queries, lists=True).get_columns()
    )
    names = pl.Series("form", FORMS, dtype=pl.String).gather(form)
    return frame.with_columns(left_out_lists(log.items, *hidden, len(row)), names)


def _hidden(
    log: EventLog, history: ShopperFeatures, longer: ShopperFeatures, requests: Requests, queries: Queries, left_out: LeftOut
) -> tuple[Ints, Ints]:
    """Return number of the request and item code of what a server leaves out, int64 [P] each, in order of both."""
    if left_out.rule == "recent":
        query, place = np.nonzero(queries.recent >= 0)
        item = longer.item[queries.recent[query, place]]
    else:
        known = np.flatnonzero(requests.key >= 0)
        key, stored = requests.key[known], requests.stored[known]
        query, item = left_out.pairs(key, stored, history.recent(*history.bounds(key, stored)))
        query = known[query]
    if left_out.rule == "interacted":
        query, item = np.concatenate([query, requests.number]), np.concatenate([item, requests.item])
    width = max(len(log.items), 1)
    return np.divmod(np.unique(query * width + item), width)
