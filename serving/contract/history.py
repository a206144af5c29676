"""The file of a repository that tells what each shopper looked at and bought, for lists that are ready made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.contract.arrays import read_arrays
from workflows.features.live.past import key_of

FILE: Final = "history.npz"
KEPT: Final = 20
"""The most items of each kind that are kept of a shopper."""


@dataclass(frozen=True)
class Lists:
    """Catalogue indices of each shopper, one list after the other.

    Attributes:
        starts: int64 [U + 1].
        items: int32 [P].
    """

    starts: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def of(self, row: int) -> list[int]:
        """Return the list of one shopper."""
        found: list[int] = self.items[self.starts[row] : self.starts[row + 1]].tolist()
        return found

    @classmethod
    def joined(cls, lists: Sequence[Sequence[int]]) -> Lists:
        """Return lists, one after the other."""
        starts = np.cumsum([0, *map(len, lists)]).astype(np.int64)
        return cls(starts, np.array([item for each in lists for item in each], np.int32))


def row_of(keys: npt.NDArray[np.uint64], user: str) -> int | None:
    """Return the row of a shopper; None if the shopper is unknown.

    Args:
        keys: :func:`key_of` of each shopper, ascending, uint64 [U].
        user: the user id.
    """
    return place_of(keys, key_of(user)) if user else None


def place_of(keys: npt.NDArray[np.uint64], key: int) -> int | None:
    """Return where a key stands among ascending ones, uint64 [U]; None if it does not."""
    wanted = np.uint64(key)
    place = int(np.searchsorted(keys, wanted))
    return place if place < len(keys) and keys[place] == wanted else None


@dataclass(frozen=True)
class History:
    """What shoppers did until an export.

    Attributes:
        keys: :func:`key_of` of each shopper, ascending, uint64 [U].
        viewed: what each looked at or bought, the latest first.
        bought: what each bought, the most often bought first, and of those the latest.
    """

    keys: npt.NDArray[np.uint64]
    viewed: Lists
    bought: Lists

    @classmethod
    def made(cls, users: Sequence[str], viewed: Sequence[Sequence[int]], bought: Sequence[Sequence[int]]) -> History:
        """Return the history of users, in any order."""
        keys = np.array([key_of(user) for user in users], np.uint64)
        order = np.argsort(keys, kind="stable").tolist()
        return cls(keys[order], *(Lists.joined([lists[row] for row in order]) for lists in (viewed, bought)))

    def row(self, user: str) -> int | None:
        """Return the row of a shopper; None of one who is not known."""
        return row_of(self.keys, user)

    def write(self, path: Path) -> None:
        """Write the file; equal histories give equal bytes."""
        with path.open("wb") as stream:
            np.savez(
                stream,
                keys=self.keys,
                viewed_starts=self.viewed.starts,
                viewed=self.viewed.items,
                bought_starts=self.bought.starts,
                bought=self.bought.items,
            )

    @classmethod
    def read(cls, path: Path) -> History:
        """Read what :meth:`write` wrote.

        Raises:
            RunError: if it is not that.
        """
        with read_arrays(path) as content:
            lists = (Lists(content[f"{name}_starts"], content[name]) for name in ("viewed", "bought"))
            return cls(content["keys"], *lists)
