"""The file of a repository for the gateway's fallback recommendations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.contract.arrays import read_arrays

FILE: Final = "fallback.npz"
KEPT_NEIGHBOURS: Final = 20
"""The most neighbours of an item that are kept."""


@dataclass(frozen=True)
class FallbackTables:
    """The tables of one export; row number = catalogue index.

    Attributes:
        ids: item ids, UTF-8 [N].
        popularity: recent events, float32 [N].
        categories: category code, int32 [N]; 0 is none.
        neighbours: catalogue indices of what goes with each item, the strongest first, int32 [N, K]; -1 where there is none.
        weights: how much, float32 [N, K].
        leaves_recents_out: whether an item that was just looked at is not recommended.
        max_k: the most items that one answer can hold.
    """

    ids: tuple[bytes, ...]
    popularity: npt.NDArray[np.float32]
    categories: npt.NDArray[np.int32]
    neighbours: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    leaves_recents_out: bool
    max_k: int

    def write(self, path: Path) -> None:
        """Write the file; equal tables give equal bytes."""
        lengths = np.array([len(text) for text in self.ids], np.int32)
        texts = np.frombuffer(b"".join(self.ids), np.uint8)
        with path.open("wb") as stream:
            np.savez(
                stream,
                lengths=lengths,
                texts=texts,
                popularity=self.popularity,
                categories=self.categories,
                neighbours=self.neighbours,
                weights=self.weights,
                flags=np.array([self.leaves_recents_out, self.max_k], np.int32),
            )

    @classmethod
    def read(cls, path: Path) -> FallbackTables:
        """Read what :meth:`write` wrote.

        Raises:
            RunError: if it is not that.
        """
        with read_arrays(path) as content:
            texts, ends = content["texts"].tobytes(), np.cumsum(content["lengths"]).tolist()
            ids = tuple(texts[start:end] for start, end in zip([0, *ends], ends, strict=False))
            leaves_out, max_k = content["flags"].tolist()
            tables = {name: content[name] for name in ("popularity", "categories", "neighbours", "weights")}
            return cls(ids=ids, **tables, leaves_recents_out=bool(leaves_out), max_k=max_k)
