"""Bots: keys with so many events that they outweigh the rest of the log."""

from __future__ import annotations

from typing import Final

import numpy as np

from workflows.events.event_log import EventLog

MIN_EVENTS: Final = 1_000
"""Fewer events are never suspicious."""
MIN_SHARE: Final = 0.01
"""Share of all events from which on a shopper weighs on training and on metrics."""
MIN_RATIO: Final = 10.0
"""How many times the 99th percentile of events per shopper a suspicious one has."""
_NAMED: Final = 3


def warn_of_bots(log: EventLog) -> list[str]:
    """Return a warning where some shoppers have far too many events to be people; else nothing.

    Args:
        log: the coded events; an anonymous session counts as a shopper.
    """
    events = np.bincount(log.key, minlength=len(log.keys))
    usual = float(np.percentile(events[events > 0], 99, method="lower"))  # listed users may have none
    bound = max(MIN_EVENTS, MIN_SHARE * len(log.key), MIN_RATIO * usual)
    suspects = np.flatnonzero(events >= bound)
    if not len(suspects):
        return []
    suspects = suspects[np.argsort(-events[suspects], kind="stable")]
    named = ", ".join(f"{log.keys[int(key)]!r} ({events[key]:,})" for key in suspects[:_NAMED])
    more = f" and {len(suspects) - _NAMED:,} more" if len(suspects) > _NAMED else ""
    total = int(events[suspects].sum())
    return [
        f"{named}{more}: {'one shopper has' if len(suspects) == 1 else f'{len(suspects):,} shoppers have'} {total:,} of {len(log.key):,} "
        f"events ({total / len(log.key):.1%}), and 99% of shoppers have at most {usual:,.0f} each. That is more likely a bot, a till or a "
        f"shared account than a person, and models and metrics follow it. Leave it out of the export, or give its rows no user id."
    ]
