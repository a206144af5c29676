"""Reference histograms of inputs and scores of an export, for measuring drift in the gateway.

The population stability index of observed shares p and expected shares q is the sum of (p - q) ln(p / q) (Siddiqi, "Credit Risk
Scorecards", 2006): below .1 is usual, above .25 a population that has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.contract.arrays import read_arrays

FILE: Final = "reference.npz"
ITEM_INPUTS: Final = ("item_category", "item_price", "item_popularity")
"""What is looked at of the items that shoppers act on."""
SCORE: Final = "score"
ANSWERED: Final = "answered_category"
_PRIOR: Final = 0.5
"""Observations that each bin is given beforehand, so that an empty one is no infinite drift."""


@dataclass(frozen=True)
class Reference:
    """The expectations of one export.

    Attributes:
        bins: input -> the bin of each item of the catalogue, int16 [N].
        shares: input, answered categories or scores -> the expected share of each bin, float64 [bins].
        score_edges: ends of the bins of scores within, float64 [bins - 1].
        users: hashes of the known users, uint64, sorted [U].
    """

    bins: Mapping[str, npt.NDArray[np.int16]]
    shares: Mapping[str, npt.NDArray[np.float64]]
    score_edges: npt.NDArray[np.float64]
    users: npt.NDArray[np.uint64]

    def knows_user(self, user: str) -> bool:
        """Whether the export has seen a user; of unknown ones it is wrong once in 10^19 / U."""
        found = np.uint64(user_hash(user))
        place = int(np.searchsorted(self.users, found))
        return place < len(self.users) and bool(self.users[place] == found)

    def write(self, path: Path) -> None:
        """Write the file; equal expectations give equal bytes."""
        arrays: dict[str, npt.NDArray[Any]] = {f"bins/{name}": bins for name, bins in self.bins.items()}
        arrays |= {f"shares/{name}": shares for name, shares in self.shares.items()}
        with path.open("wb") as stream:
            np.savez(stream, **arrays, score_edges=self.score_edges, users=self.users)

    @classmethod
    def read(cls, path: Path) -> Reference:
        """Read what :meth:`write` wrote.

        Raises:
            RunError: if it is not that.
        """
        with read_arrays(path) as content:
            parts: dict[str, dict[str, Any]] = {"bins": {}, "shares": {}}
            for key in content.files:
                kind, _, name = key.partition("/")
                if name:
                    parts[kind][name] = content[key]
            return cls(parts["bins"], parts["shares"], content["score_edges"], content["users"])


def user_hash(user: str) -> int:
    """Return 64 bits for a user id."""
    return int.from_bytes(hashlib.blake2b(user.encode(errors="replace"), digest_size=8).digest(), "little")


def stability_index(observed: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> float:
    """Return the population stability index.

    Args:
        observed: counts of each bin.
        expected: shares of each bin; they sum to 1.

    >>> round(stability_index(np.array([500.0, 500.0]), np.array([0.5, 0.5])), 6)
    0.0
    >>> round(stability_index(np.array([900.0, 100.0]), np.array([0.5, 0.5])), 2)
    0.88
    """
    bins = len(expected)
    total = observed.sum()
    shares = (observed + _PRIOR) / (total + _PRIOR * bins)
    wanted = (expected * total + _PRIOR) / (total + _PRIOR * bins)
    return float(np.sum((shares - wanted) * np.log(shares / wanted)))
