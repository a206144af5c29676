"""Assignment of shoppers to arms by a hash, which is stateless and equal on every server."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from cartwheel.core.errors import UsageError


def place_of(key: str, salt: str) -> float:
    """Return the place of a shopper in [0, 1): the same for the same two texts, and for another salt another one.

    >>> place_of("u00042", "ranker") == place_of("u00042", "ranker"), place_of("u00042", "ranker") == place_of("u00042", "colour")
    (True, False)
    """
    digest = hashlib.blake2b(f"{salt}\0{key}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def assign(key: str, experiment: str, shares: Mapping[str, float]) -> str:
    """Return the arm of a shopper.

    Weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005): every arm draws a number for
    the shopper, and the largest wins. Where the share of one arm grows, shoppers move to that arm alone; an arm that is new or gone moves
    no shopper between the others. Experiments of different names are independent.

    Args:
        key: the shopper.
        experiment: name of the experiment.
        shares: arm -> its share; they count in proportion to their sum.

    Raises:
        UsageError: if there is no arm, or a share that is negative or no number, or all are 0.

    >>> assign("u00042", "ranker", {"control": 0.0, "treatment": 1.0})
    'treatment'
    """
    if not all(math.isfinite(share) and share >= 0 for share in shares.values()) or not any(shares.values()):
        raise UsageError(
            f"The shares of experiment {experiment!r} are {dict(shares)}.",
            "Give each arm a share of at least 0, and one above 0.",
        )
    arms = {arm: share for arm, share in shares.items() if share > 0}
    return max(arms, key=lambda arm: (_draw(key, experiment, arm, arms[arm]), arm))


def _draw(key: str, experiment: str, arm: str, share: float) -> float:
    """Return a number whose probability to be the largest is the share: an exponential waiting time of that rate, negated."""
    place = place_of(key, f"{experiment}\0{arm}")
    return math.log1p(-place) / share
