"""Decides whether a new version is worse than the served one, by their traffic over the same time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from serving.settings import DeploySettings

Counts = Mapping[str, Any]
"""What :meth:`serving.gateway.tally.Tally.told` gives of a version."""
_MEDIAN, _HIGH = "p50", "p95"


def worse(old: Counts, new: Counts, settings: DeploySettings, looks: int) -> str:
    """Return in what the new version is worse, as a clause; empty where it is not, or nothing shows it.

    Errors and clicks are compared by Fisher's exact test, one-sided, at ``false_alarm / looks``: so many times the versions are compared in
    all. https://doi.org/10.2307/2340521

    Args:
        old: what was counted of the version that is served.
        new: of the new one, over the same time.
        settings: what counts as worse.
        looks: how often the versions are compared in all.
    """
    level = settings.false_alarm / looks
    asked = (old["answered"] + old["failed"], new["answered"] + new["failed"])
    if more_often(old["failed"], asked[0], new["failed"], asked[1]) < level:
        return f"{new['failed']:,} of {asked[1]:,} requests failed, of the old version {old['failed']:,} of {asked[0]:,}"
    if longer := slower(old, new, settings, _HIGH):
        return longer
    if more_often(old["shown"] - old["clicked"], old["shown"], new["shown"] - new["clicked"], new["shown"]) < level:
        return (
            f"of {new['shown']:,} lists {new['clicked']:,} were clicked,"
            f" of the old version's {old['shown']:,} lists {old['clicked']:,}"
        )
    return ""


def slower(old: Counts, new: Counts, settings: DeploySettings, of: str = _MEDIAN) -> str:
    """Return how much longer the new version takes than it may, as a clause; empty where it does not, or too little was counted.

    Args:
        old: of the version that is served.
        new: of the new one.
        settings: how much longer it may take.
        of: the latency that is compared, ``p50`` or ``p95``.
    """
    if min(old["answered"], new["answered"]) < settings.least_requests:
        return ""
    if new[of] <= settings.latency_ratio * old[of] + settings.latency_milliseconds:
        return ""
    return f"{of[1:]} % of its answers take up to {new[of]:.1f} ms, the old version's {old[of]:.1f} ms"


def more_often(old_hits: int, old: int, new_hits: int, new: int) -> float:
    """Return how probable as many hits or more of the new version are if both versions hit equally often; 1 where nothing was counted.

    Args:
        old_hits: hits of the old version.
        old: of how many.
        new_hits: hits of the new version.
        new: of how many.
    """
    hits = old_hits + new_hits
    if not (old and new and hits):
        return 1.0
    whole = _log_choose(old + new, hits)
    terms = (
        _log_choose(new, k) + _log_choose(old, hits - k) - whole for k in range(new_hits, min(new, hits) + 1) if hits - k <= old
    )
    return min(1.0, math.fsum(map(math.exp, terms)))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
