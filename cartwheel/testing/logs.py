"""Random logs with every awkwardness that a shop's log has."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl

START_US: Final = 1_700_000_000_000_000
_MINUTE_US: Final = 60_000_000
_KINDS: Final = ("view", "cart", "purchase", "remove_from_cart", "refund", "rating")
_SHARES: Final = (0.45, 0.2, 0.22, 0.05, 0.05, 0.03)


def random_log(seed: int, events: int = 120, days: float = 40.0) -> pl.DataFrame:
    """Make a log: named and unnamed sessions, anonymous ones, simultaneous events, changing prices, quantities and missing values.

    Args:
        seed: the only source of randomness.
        events: how many.
        days: how long.

    Returns:
        Canonical events by time, with the own columns ``mood`` (String) and ``margin`` (Float64).
    """
    rng = np.random.default_rng(seed)
    visit = rng.integers(0, max(events // 5, 1), size=events)
    begins = rng.integers(0, int(days * 24 * 60), size=events)
    user = rng.integers(0, 7, size=events)[visit]
    item = np.minimum(rng.geometric(0.2, size=events) - 1, 9)
    minute = begins[visit] + 5 * rng.integers(0, 12, size=events)
    time = START_US + minute * _MINUTE_US
    anonymous, named = user == 6, (visit % 3 == 0) | (user == 6)
    frame = pl.DataFrame(
        {
            "user_id": [None if hidden else f"u{code}" for code, hidden in zip(user, anonymous, strict=True)],
            "item_id": [f"i{code}" for code in item],
            "event_type": rng.choice(_KINDS, p=_SHARES, size=events),
            "timestamp": pl.Series(time).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "session_id": [f"s{code}" if own else None for code, own in zip(visit, named, strict=True)],
            "category": [None if code % 5 == 4 else f"c{code % 3}" for code in item],
            "brand": [None if rng.random() < 0.2 else f"b{code % 4}" for code in item],
            "price": _some(rng, 5.0 + item + np.round(rng.random(events), 2), 0.3),
            "quantity": _some(rng, rng.integers(1, 5, size=events).astype(np.float64), 0.4),
            "mood": rng.choice(["good", "bad", ""], size=events),
            "margin": _some(rng, np.round(rng.random(events), 3), 0.2),
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC"), "quantity": pl.Float64},
    )
    return frame.sort("timestamp", maintain_order=True)


def _some(rng: np.random.Generator, values: Any, missing: float) -> list[float | None]:
    gone = rng.random(len(values)) < missing
    return [None if hidden else float(value) for value, hidden in zip(values, gone, strict=True)]
