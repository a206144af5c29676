"""What follows a view: dwelling, the cart, a removal, the purchase, and sometimes a refund."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from workflows.simulate.choice import affinity
from workflows.simulate.journeys import DAY, SECOND, Sessions, Views
from workflows.simulate.world import Doubles, Ints, World

_CART_BASE: Final = -2.7
_BUY_BASE: Final = -2.2
_REMOVED: Final = 0.25  # share of the cart lines that are not bought
_REFUNDED: Final = 0.03  # share of the purchases
_REFUND_DAYS: Final = 6.0
_MORE_THAN_ONE: Final = 0.12


@dataclass(frozen=True)
class Funnel:
    """What happened, in times of microseconds since the log began. V views, L cart lines."""

    viewed_at: Ints
    """[V] instant of each view."""
    line: Ints
    """[L] the view (row of ``Views``) that led to the cart line."""
    carted_at: Ints
    """[L] instant at which the line went into the cart."""
    quantity: Ints
    """[L] pieces."""
    probability: Doubles
    """[L] true probability that the line is bought in its session."""
    bought_at: Ints
    """[L] instant of the purchase, -1 if never."""
    removed_at: Ints
    """[L] instant of the removal, -1 if never."""
    refunded_at: Ints
    """[L] instant of the refund, -1 if never."""


def make_funnel(world: World, sessions: Sessions, views: Views, days: int, rng: np.random.Generator) -> Funnel:
    """Draw what became of each view.

    Args:
        world: the world.
        sessions: S sessions.
        views: V views, sorted by session and time.
        days: length of the log; refunds after its end are not in it.
        rng: the stream that decides it.
    """
    dwell = np.clip(rng.lognormal(3.6, 0.8, len(views.session)), 3.0, 600.0) * SECOND
    viewed_at, left_at = _clock(sessions, views, dwell.astype(np.int64))
    to_cart, to_buy = outcome_logits(world, sessions, views)
    line = np.flatnonzero(rng.random(len(to_cart)) < logistic(to_cart))
    carted_at = viewed_at[line] + ((left_at - viewed_at)[line] * rng.uniform(0.2, 0.9, len(line))).astype(np.int64)
    probability = logistic(to_buy[line])
    bought = rng.random(len(line)) < probability
    checkout = _session_end(sessions, views, left_at) + ((15.0 + rng.exponential(60.0, len(sessions.user))) * SECOND).astype(
        np.int64
    )
    ends = checkout[views.session[line]]
    removed = ~bought & (rng.random(len(line)) < _REMOVED)
    removed_at = carted_at + 1 + ((ends - carted_at) * rng.uniform(0.05, 0.95, len(line))).astype(np.int64)
    refunded_at = ends + DAY + (rng.exponential(_REFUND_DAYS, len(line)) * DAY).astype(np.int64)
    refunded = bought & (rng.random(len(line)) < _REFUNDED) & (refunded_at < days * DAY)
    return Funnel(
        viewed_at=viewed_at,
        line=line,
        carted_at=carted_at,
        quantity=1 + (rng.random(len(line)) < _MORE_THAN_ONE) * rng.integers(1, 4, len(line)),
        probability=probability,
        bought_at=np.where(bought, ends, -1),
        removed_at=np.where(removed, removed_at, -1),
        refunded_at=np.where(refunded, refunded_at, -1),
    )


def logistic(logits: Doubles) -> Doubles:
    """Probability of each logit."""
    probability: Doubles = 1.0 / (1.0 + np.exp(-logits))
    return probability


def outcome_logits(world: World, sessions: Sessions, views: Views) -> tuple[Doubles, Doubles]:
    """[V] logits of the cart given the view, and of the purchase given the cart."""
    user, occasion = sessions.user[views.session], sessions.occasion[views.session]
    match = affinity(world, user, occasion, views.item)
    too_dear = np.log(views.price) - world.users.price_level[user] - world.occasions.price_shift[occasion]
    pain = world.users.price_sensitivity[user] * np.clip(too_dear, -2.0, 2.0)
    tendency, quality = world.users.conversion[user], world.items.quality[views.item]
    to_cart = _CART_BASE + 0.25 * match + 1.5 * views.discount - 0.18 * pain + 0.5 * tendency + 0.2 * quality
    to_buy = _BUY_BASE + 0.30 * match + 3.5 * views.discount - 0.45 * pain + 1.0 * tendency + 1.0 * quality
    return to_cart, to_buy


def _clock(sessions: Sessions, views: Views, dwell: Ints) -> tuple[Ints, Ints]:
    """[V] instants at which each view begins and ends: one after the other from the session's start."""
    total = np.cumsum(dwell)
    first = np.searchsorted(views.session, views.session, side="left")
    left = sessions.start[views.session] + total - (total - dwell)[first]
    return left - dwell, left


def _session_end(sessions: Sessions, views: Views, left_at: Ints) -> Ints:
    """[S] instant at which the last view of each session ends."""
    end = sessions.start.copy()
    np.maximum.at(end, views.session, left_at)
    return end
