"""The oracle of purchase intent: how probable it is, given all that the generator knows, that a running session will buy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from workflows.events.schema import PURCHASE, REMOVE_FROM_CART, VIEW
from workflows.simulate.choice import catalogue_on
from workflows.simulate.funnel import logistic, outcome_logits
from workflows.simulate.journeys import DAY, MAX_VIEWS, Views
from workflows.simulate.settings import SimulateSettings
from workflows.simulate.truth import Truth
from workflows.simulate.world import Doubles, Ints

_CELLS: Final = 400_000
_MEAN_VIEWS: Final = float(SimulateSettings.model_fields["views_per_session"].default)


def purchase_probability(
    truth: Truth, events: pl.DataFrame, sessions: Sequence[str], anchors_us: Ints, views_per_session: float = _MEAN_VIEWS
) -> Doubles:
    """Probability that a session buys anything at or after an instant.

    What is in the cart by then is bought with the probability that it was drawn with; the item that is being looked at may still go into
    the cart; and of the views that may follow (their number is geometric, so it does not depend on how many there were) each buys
    with the mean over the items that it may turn to, weighted by how probable they are next. After a purchase a session is over.

    Args:
        truth: of the simulated shop.
        events: its canonical events.
        sessions: [B] session ids.
        anchors_us: [B] int64, Unix microseconds; what happened strictly before them is known.
        views_per_session: mean of the number of views, as the shop was simulated with.

    Returns:
        [B] float64.
    """
    told = _told(events, sessions, anchors_us)
    codes = np.array([truth.session_code(name) for name in sessions], dtype=np.int64)
    later = _next_view_buys(truth, codes, sessions, anchors_us)
    carts = {(name, item): p for name, item, p in truth.cart_lines()}
    goes_on = 1.0 - 1.0 / views_per_session
    found = np.zeros(len(sessions))
    for row, past in enumerate(told):
        if past["bought"]:
            continue
        lines = [carts[sessions[row], item] for item in past["carted"] - past["removed"]]
        if past["viewed"] and past["viewed"][-1] not in past["carted"]:
            lines.append(_line(truth, codes[row], past["viewed"][-1]))
        left = MAX_VIEWS - len(past["viewed"])
        without = goes_on * (1.0 - later[row])
        none_later = (1.0 - goes_on) * (1.0 - without**left) / (1.0 - without) + without**left
        found[row] = 1.0 - none_later * np.prod(1.0 - np.array(lines))
    return found


def _told(events: pl.DataFrame, sessions: Sequence[str], anchors_us: Ints) -> list[Mapping[str, Any]]:
    """What each session had viewed (in order), put into the cart and removed, and whether it had bought, before its anchor."""
    rows: dict[str, list[tuple[int, str, str]]] = {}
    chosen = events.filter(pl.col("session_id").is_in(list(set(sessions)))).sort("timestamp", maintain_order=True)
    for name, instant, kind, item in chosen.select(
        "session_id", pl.col("timestamp").dt.epoch("us"), "event_type", "item_id"
    ).iter_rows():
        rows.setdefault(name, []).append((instant, kind, item))
    told: list[Mapping[str, Any]] = []
    for name, anchor in zip(sessions, anchors_us.tolist(), strict=True):
        past = [(kind, item) for instant, kind, item in rows.get(name, []) if instant < anchor]
        told.append(
            {
                "viewed": [item for kind, item in past if kind == VIEW],
                "carted": {item for kind, item in past if kind == "cart"},
                "removed": {item for kind, item in past if kind == REMOVE_FROM_CART},
                "bought": any(kind == PURCHASE for kind, _ in past),
            }
        )
    return told


def _next_view_buys(truth: Truth, codes: Ints, sessions: Sequence[str], anchors_us: Ints) -> Doubles:
    """Probability [B] that the view after the anchor, whatever item it turns to, ends with a purchase."""
    items = truth.item_ids
    found = np.zeros(len(codes))
    users = truth.user_ids_of(codes)
    step = max(1, _CELLS // len(items))
    for start in range(0, len(codes), step):
        rows = slice(start, start + step)
        turned_to = np.exp(truth.scores(users[rows], anchors_us[rows], sessions[rows], items).astype(np.float64))
        buys = np.stack([_buys(truth, code, np.arange(len(items))) for code in codes[rows]])
        found[rows] = (turned_to * buys).sum(axis=1)
    return found


def _line(truth: Truth, session: int, item: str) -> float:
    return float(_buys(truth, session, np.array([truth.item_code(item)]))[0])


def _buys(truth: Truth, session: int, items: Ints) -> Doubles:
    """Probability [N] that a view of each item in a session goes into the cart and is bought."""
    day = catalogue_on(truth.world, int(truth.sessions.start[session] // DAY))
    views = Views(np.full(len(items), session), items, day.price[items], day.discount[items])
    to_cart, to_buy = outcome_logits(truth.world, truth.sessions, views)
    both: Doubles = logistic(to_cart) * logistic(to_buy)
    return both
