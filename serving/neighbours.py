"""The table of items that go together, as ``models/item_to_item`` of a run holds it for the catalogue that is served."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cartwheel.errors import RunError
from serving.run_files import read_json

_FIX = "Run `cartwheel train` again."


@dataclass(frozen=True)
class NeighbourTable:
    """What the recent items of a query add to retrieval scores: over their places, n steps from the end, decay^n * addition.

    Attributes:
        columns: int64 [N + 1, K], catalogue indices; N where there is no neighbour. The last row is the unknown item's.
        additions: float32 [N + 1, K], above 0; 0 where there is no neighbour.
        decay: in (0, 1].
    """

    columns: npt.NDArray[np.int64]
    additions: npt.NDArray[np.float32]
    decay: float


def read_neighbours(run: Path, items: int) -> NeighbourTable | None:
    """Read the table of a run; None where the two-tower retrieves alone.

    Args:
        run: run directory.
        items: N, size of the served catalogue.

    Raises:
        RunError: if a file is corrupt or of another catalogue.
    """
    folder = run / "models" / "item_to_item"
    if not folder.exists():
        return None
    blend = read_json(folder / "blend.json")
    try:
        weight, decay = float(blend["weight"]), float(blend["decay"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder / 'blend.json'} has no number for {error}.", _FIX) from error
    if not (0 <= weight < math.inf and 0 < decay <= 1):
        raise RunError(
            f"{folder / 'blend.json'} holds the weight {weight} and the decay {decay}; 0 or above and (0, 1] are expected.", _FIX
        )
    if weight == 0:
        return None
    path = folder / "snapshot.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            columns, weights = stored["columns"].astype(np.int64), stored["weights"].astype(np.float32)
    except Exception as error:  # zipfile, numpy and the file system each raise their own
        raise RunError(f"{path} cannot be read ({error}).", _FIX) from error
    if columns.shape != weights.shape or columns.ndim != 2 or len(columns) != items or (columns >= items).any():
        raise RunError(
            f"{path} holds arrays of shapes {columns.shape} and {weights.shape}; [{items}, K] twice is expected.", _FIX
        )
    nobody = np.full((1, columns.shape[1]), -1, np.int64)
    columns = np.concatenate([columns, nobody])
    additions = np.concatenate([np.float32(weight) * weights, np.zeros(nobody.shape, np.float32)])
    return NeighbourTable(np.where(columns < 0, items, columns), np.where(columns < 0, np.float32(0), additions), decay)
