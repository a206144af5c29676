"""The features in plain code: the definition with which the leakage audit and the tests compare the fast code.

Nothing here is shared with the fast code. Events are dictionaries with the canonical columns and ``time`` in microseconds, in time
order (events at one instant in file order).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from workflows.settings import LeaveOut, PrepareSettings

Event = dict[str, Any]

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def query_features(of_key: list[Event], anchor: int, settings: PrepareSettings) -> dict[str, Any]:
    """Compute the query columns (but ``user_id``) from the events of one history key.

    Args:
        of_key: every event of the key, later ones too: they must not matter.
        anchor: microseconds.
        settings: what counts as an interaction, the session gap, how many recent items.
    """
    past = [e for e in of_key if e["time"] < anchor and e["event_type"] in settings.interaction_types]
    prices = [e["price"] for e in past if e["price"] is not None]
    features: dict[str, Any] = {"hour": anchor // _HOUR % 24, "weekday": (anchor // _DAY + 3) % 7 + 1, "user_events": len(past)}
    kinds = Counter(e["event_type"] for e in past)
    features |= {"user_views": kinds["view"], "user_carts": kinds["cart"], "user_purchases": kinds["purchase"]}
    features["user_recency_hours"] = (anchor - past[-1]["time"]) / _HOUR if past else None
    features["user_mean_price"] = sum(prices) / len(prices) if prices else None
    run = _running_session(past, anchor, settings.session_gap_minutes * _MINUTE)
    features["session_events"] = len(run)
    features["session_minutes"] = (anchor - run[0]["time"]) / _MINUTE if run else 0
    recent: list[Event] = []
    for event in reversed(past):
        if len(recent) == settings.recent_items:
            break
        if event["item_id"] not in [e["item_id"] for e in recent]:
            recent.append(event)
    recent.reverse()
    features["recent_items"] = [e["item_id"] for e in recent]
    features["recent_categories"] = [e["category"] or "" for e in recent]
    features["recent_brands"] = [e["brand"] or "" for e in recent]
    return features


def _running_session(past: list[Event], anchor: int, gap: int) -> list[Event]:
    run: list[Event] = []
    next_time = anchor
    for event in reversed(past):
        if next_time - event["time"] > gap:
            break
        run.append(event)
        next_time = event["time"]
    run.reverse()
    return run


def told_events(
    of_key: list[Event], anchor: int, form: str, settings: PrepareSettings
) -> tuple[list[Event], list[tuple[str, str]]]:
    """Find what is stored of a shopper for a request, and what the request tells of.

    Args:
        of_key: every event of the key, later ones too: they must not matter.
        anchor: when it is asked, microseconds.
        form: one of ``columns.FORMS``.
        settings: what counts as an interaction, the session gap, how many recent items, the refresh of the state, the cart window.

    Returns:
        The stored events, and ``(item, "recent_items" or "cart_items")`` of each event that the request tells of, in order.
    """
    refreshed = anchor // (settings.state_minutes * _MINUTE) * settings.state_minutes * _MINUTE
    stored = [e for e in of_key if e["time"] < refreshed] if form.startswith("known") else []
    past = [e for e in of_key if e["time"] < anchor and e["event_type"] in settings.interaction_types]
    told: list[tuple[str, str]] = []
    if form.endswith("with recent items"):
        seen: list[str] = []
        recent = query_features(of_key, anchor, settings)["recent_items"]
        for event in _running_session(past, anchor, settings.session_gap_minutes * _MINUTE):
            seen = [item for item in seen if item != event["item_id"]]
            if not form.startswith("known") or event["time"] >= refreshed:
                seen.append(event["item_id"])
        told += [(item, "recent_items") for item in seen if item in recent]
    lines = list(cart_lines(of_key, anchor, settings))
    return stored, told + [(item, "cart_items") for item in reversed(lines)]


def item_features(item: str, related: list[Event], instant: int, settings: PrepareSettings) -> dict[str, Any]:
    """Compute the item columns (but ``item_id``).

    Args:
        item: the item's id.
        related: every event of the item and of all items that ever had a category of its, later ones too.
        instant: the state instant, microseconds.
        settings: what counts as an interaction, the popularity window.
    """
    past = [e for e in related if e["time"] < instant]
    own = [e for e in past if e["item_id"] == item]
    counted = [e for e in own if e["event_type"] in settings.interaction_types]
    category, price = _latest(own, "category") or "", _latest(own, "price")
    window = instant - round(settings.popularity_days * _DAY)
    return {
        "item_category": category,
        "item_brand": _latest(own, "brand") or "",
        "item_price": price,
        "item_price_ratio": _price_ratio(past, category, price),
        "item_recent_events": sum(e["time"] >= window for e in counted),
        "item_events": len(counted),
        "item_purchases": sum(e["event_type"] == "purchase" for e in counted),
        "item_age_days": (instant - own[0]["time"]) / _DAY if own else 0,
    }


def _latest(events: list[Event], column: str) -> Any:
    for event in reversed(events):
        if event[column] is not None and event[column] != "":
            return event[column]
    return None


def _price_ratio(past: list[Event], category: str, price: float | None) -> float | None:
    if not category or price is None:
        return None
    by_item: dict[str, list[Event]] = {}
    for event in past:
        by_item.setdefault(event["item_id"], []).append(event)
    prices = [_latest(events, "price") for events in by_item.values() if _latest(events, "category") == category]
    known = [p for p in prices if p is not None]
    mean = sum(known) / len(known)
    return price / mean if mean > 0 else None


def cross_columns(query: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """Compute the cross columns from the other two groups."""
    features: dict[str, Any] = {}
    for name, own, recent in (
        ("category_affinity", item["item_category"], query["recent_categories"]),
        ("brand_affinity", item["item_brand"], query["recent_brands"]),
    ):
        features[name] = recent.count(own) / len(recent) if own and recent else 0
    price, mean = item["item_price"], query["user_mean_price"]
    known = price is not None and mean is not None and price > 0 and mean > 0
    features["price_gap"] = math.log(price) - math.log(mean) if known else None
    return features


def left_out_items(of_key: list[Event], anchor: int, settings: PrepareSettings, leave_out: LeaveOut) -> set[str]:
    """Find what must not be recommended to a history key at an instant.

    Args:
        of_key: every event of the key.
        anchor: microseconds.
        settings: what counts as an interaction, how many recent items.
        leave_out: the rule.
    """
    if leave_out == "recent":
        return set(query_features(of_key, anchor, settings)["recent_items"])
    past = [e for e in of_key if e["time"] < anchor]
    if leave_out == "interacted":
        return {e["item_id"] for e in past if e["event_type"] in settings.interaction_types}
    owned: dict[str, int] = {}
    for event in past if leave_out == "purchased" else []:
        item = event["item_id"]
        if event["event_type"] == "purchase":
            owned[item] = owned.get(item, 0) + 1
        elif event["event_type"] == "refund":
            owned[item] = max(owned.get(item, 0) - 1, 0)
    return {item for item, times in owned.items() if times}


def recommend_truth(of_key: list[Event], anchor: int, stop: int, settings: PrepareSettings, leave_out: LeaveOut) -> set[str]:
    """Find the items that are true for a recommend example of validation or test.

    Args:
        of_key: every event of the key.
        anchor: microseconds.
        stop: one past the last instant of the split.
        settings: the horizon.
        leave_out: the rule of what is not true.
    """
    horizon = anchor + round(settings.horizon_days * _DAY)
    hidden = left_out_items(of_key, anchor, settings, leave_out)
    return {
        e["item_id"]
        for e in of_key
        if anchor <= e["time"] <= horizon
        and e["time"] < stop
        and e["event_type"] in settings.interaction_types
        and e["item_id"] not in hidden
    }


def cart_lines(of_key: list[Event], anchor: int, settings: PrepareSettings) -> dict[str, bool]:
    """Find the items in a cart, latest added first, each with whether it gets bought within the window.

    Args:
        of_key: every event of the key.
        anchor: microseconds.
        settings: the cart window.
    """
    window = round(settings.cart_window_hours * _HOUR)
    lines: dict[str, Event] = {}
    for event in of_key:
        if event["time"] < anchor and event["event_type"] in ("cart", "purchase", "remove_from_cart"):
            lines.pop(event["item_id"], None)
            if event["event_type"] == "cart" and event["time"] >= anchor - window:
                lines[event["item_id"]] = event
    bought = {e["item_id"] for e in of_key if e["event_type"] == "purchase" and anchor < e["time"] <= anchor + window}
    return {item: item in bought for item in reversed(lines)}
