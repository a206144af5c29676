"""The cart examples once more, as requests would ask them: of strangers, and of users as the last refresh of the state knew them.

An example of the log knows its shopper's history up to the anchor. A request knows what is stored, which for a stranger is nothing,
and what it tells: the lines, and perhaps the items of the running session. A model that has never seen such rows is wrong about them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from workflows.events.asof import Ints, expand
from workflows.events.event_log import EventLog
from workflows.features.columns import FORMS
from workflows.features.item import ItemHistory, state_instant
from workflows.features.requests import Requests, request_queries
from workflows.features.shopper import ShopperFeatures
from workflows.settings import PrepareSettings
from workflows.tasks.cart import Carts, line_frame

CART_REQUESTS: Final = "cart_requests"
"""Table of each split: the lines of its carts, asked for as ``form`` says."""


def cart_requests(
    log: EventLog,
    history: ShopperFeatures,
    items: ItemHistory,
    carts: Carts,
    settings: PrepareSettings,
    rng: np.random.Generator,
    *,
    share: float | None = None,
    max_rows: int | None = None,
) -> pl.DataFrame:
    """Write the lines of carts as requests of every form ask for them.

    A form is left out for a cart that cannot be asked for so: that of a shopper without an id, or without stored history, as a known
    user; and with recent items where the session holds none.

    Args:
        log: the coded events.
        history: their interactions.
        items: the item statistics.
        carts: the carts and all their lines.
        settings: how features are computed.
        rng: draws the carts and their forms where ``share`` is given.
        share: ask for about this share of the carts, in one form each; None asks for all in every form.
        max_rows: keep the latest carts that fit into so many rows; None keeps all.

    Returns:
        The columns of ``cart_frame``, and in ``form`` one of ``columns.FORMS``.
    """
    session = session_items(history, carts, settings)
    possible = possible_forms(history, carts, session, settings)
    if share is not None:
        drawn = rng.random(len(carts.key)) < share
        order = np.where(possible, rng.random(possible.shape), -1.0)
        possible &= drawn[:, None] & (order == order.max(axis=1, keepdims=True))
    cart, form = np.nonzero(possible)
    requests, asked = requests_of(history, carts, cart, form, session, settings)
    longer, queries = request_queries(log, history, items, requests, settings.state_minutes)
    frame, number = line_frame(log, longer, items, asked, queries, settings, max_rows=max_rows)
    names = pl.Series("form", FORMS, dtype=pl.String).gather(form[number])
    return frame.with_columns(pl.format("{} {}", "cart_id", names).alias("cart_id"), names)


def session_items(history: ShopperFeatures, carts: Carts, settings: PrepareSettings) -> Ints:
    """Return the last distinct items of the session that runs at each anchor: rows of the history [C, L], latest first, -1 = none."""
    start, stop = history.bounds(carts.key, carts.anchor)
    last = np.maximum(stop - 1, 0)
    if not len(history.time):
        return np.full((len(carts.key), settings.recent_items), -1, dtype=np.int64)
    running = (stop > start) & (carts.anchor - history.time[last] <= history.runs.gap_us)
    begin = np.where(running, history.runs.starts[last], stop)
    rows = history.recent(start, stop)
    return np.where(rows >= begin[:, None], rows, -1)


def possible_forms(
    history: ShopperFeatures, carts: Carts, session: Ints, settings: PrepareSettings
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return which carts can be asked for in which form: bool [C, forms]."""
    stored = state_instant(carts.anchor, settings.state_minutes)
    stop = history.bounds(carts.key, stored)[1]
    known = history.is_known(carts.key, stored)
    some = (session >= 0).any(axis=1)
    since = (session >= stop[:, None]).any(axis=1)  # what is stored is not told again
    return np.stack([np.ones(len(known), bool), some, known, known & since], axis=1)


def requests_of(
    history: ShopperFeatures, carts: Carts, cart: Ints, form: Ints, session: Ints, settings: PrepareSettings
) -> tuple[Requests, Carts]:
    """Make the request of each (cart, form), and the carts that they ask for, one a request."""
    anchor = carts.anchor[cart]
    stored = state_instant(anchor, settings.state_minutes)
    known, given = form >= 2, form % 2 == 1
    key = np.where(known, carts.key[cart], -1)
    first_told = np.where(known, history.bounds(carts.key[cart], stored)[1], 0)
    rows = np.where(given[:, None], session[cart], -1)
    rows = np.where(rows >= first_told[:, None], rows, -1)[:, ::-1]
    recent, place = np.nonzero(rows >= 0)
    starts, stops = (np.searchsorted(carts.cart, np.arange(len(carts.key)), side=side) for side in ("left", "right"))
    number, line = expand(starts[cart], stops[cart])
    asked = Carts(carts.key[cart], anchor, number, carts.item[line], carts.bought[line])
    # The lines of a cart are ordered latest added first, and what is told of latest last.
    told = np.concatenate([recent, number])
    order = np.lexsort((np.concatenate([place, rows.shape[1] + len(line) - np.arange(len(line))]), told))
    item = np.concatenate([history.item[rows[recent, place]], carts.item[line]])[order]
    is_line = np.concatenate([np.zeros(len(recent), bool), np.ones(len(line), bool)])[order]
    return Requests(key, stored, anchor, told[order], item, is_line), asked
