"""A factor model as one of the retrievers in a sum of scores: over a catalogue, and over shoppers by their ids.

The models are those of ``models.families.factors.towers``, over places instead of encoded ids: item 0 is none, item n is row n - 1 of the
catalogue, and the one behind the last is any item out of it; shopper 0 is a stranger. They are statistics of the log, as tables of
neighbours are: fitted anew for each instant from all that happened before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.files import atomic_path
from models.families.factors.towers import RECENT, USER, ALSTowers, BPRTowers, FactorTowers

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_FIX: Final = "Run `cartwheel train` again."


@dataclass(frozen=True)
class FactorScores:
    """score(q, i) = query vector . item vector + bias(i), 0 for an item that no interaction named.

    Attributes:
        towers: the model over places of items and shoppers.
        users: ids of the shoppers that it knows, in the order of their places from 1 on.
    """

    towers: FactorTowers
    users: tuple[str, ...]

    @property
    def items(self) -> Floats:
        """float32 [N, D] item vectors of the catalogue."""
        return self.towers.vectors[1:-1]

    @property
    def bias(self) -> Floats:
        """float32 [N] what every query's score of an item holds."""
        return self.towers.bias[1:-1]

    def queries(self, user_ids: Iterable[str], recent: Ints) -> Floats:
        """Return float32 [b, D] query vectors.

        Args:
            user_ids: [b] who asks; "" or an unknown id is a stranger.
            recent: [b, L] catalogue rows of the recent items, N for an item out of the catalogue, -1 behind the last.
        """
        user = self._places_of(user_ids)
        width = self.towers.vectors.shape[1]
        if not len(user):
            return np.zeros((0, width), np.float32)
        return self.towers.encode_queries({USER: user, RECENT: recent + 1})[:, :width]

    def over(self, user_ids: Iterable[str]) -> FactorTowers:
        """Return the model over other places of shoppers: place n is ``user_ids[n - 1]``."""
        if not isinstance(self.towers, BPRTowers):
            return self.towers
        return replace(self.towers, users=self.towers.users[np.append(0, self._places_of(user_ids))])

    def _places_of(self, user_ids: Iterable[str]) -> Ints:
        return np.array([self._place.get(user, 0) for user in user_ids], np.int64)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {user: place for place, user in enumerate(self.users, start=1)}

    def write(self, path: Path) -> None:
        """Write an ``.npz`` file, atomically."""
        towers = self.towers
        own: dict[str, Any]
        if isinstance(towers, ALSTowers):
            own = {"stranger": towers.stranger, "alpha": towers.alpha}
        else:
            assert isinstance(towers, BPRTowers)
            own = {"users": towers.users, "constant": towers.constant}
        with atomic_path(path) as aside, aside.open("wb") as stream:
            names = np.frombuffer(json.dumps(self.users).encode(), np.uint8)  # NumPy's own strings lose a NUL at their end
            np.savez(stream, items=towers.items, names=names, **own)

    @staticmethod
    def read(path: Path, items: int) -> FactorScores:
        """Read what was written.

        Args:
            path: the file.
            items: N, size of the catalogue that it must be of.

        Raises:
            RunError: if the file is missing, corrupt or of another catalogue.
        """
        towers: FactorTowers
        try:
            with np.load(path, allow_pickle=False) as stored:
                names = tuple(json.loads(stored["names"].tobytes()))
                if "alpha" in stored:
                    towers = ALSTowers(stored["items"], stored["stranger"], float(stored["alpha"]))
                else:
                    towers = BPRTowers(stored["items"], stored["users"], float(stored["constant"]))
        except Exception as error:  # zipfile, numpy and the file system each raise their own
            raise RunError(f"{path} cannot be read ({error}).", _FIX) from error
        if len(towers.items) != items + 2 or not np.isfinite(towers.items).all():
            raise RunError(f"{path} holds vectors of {len(towers.items) - 2} items, where {items} are expected.", _FIX)
        return FactorScores(towers, names)
