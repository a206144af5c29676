"""The table of items that go together, as ``models/item_to_item`` of a run holds it for the catalogue that is served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cartwheel.core.run_layout import SNAPSHOT, RunLayout
from models.item_to_item.blend import read_blend
from models.item_to_item.neighbours import Neighbours


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
    """Read the table of a run; None where the retrieval model retrieves alone.

    Args:
        run: run directory.
        items: N, size of the served catalogue.

    Raises:
        RunError: if a file is corrupt or of another catalogue.
    """
    blend = read_blend(run)
    if not blend.weight:
        return None
    table = Neighbours.read(RunLayout(run).item_to_item.neighbours(SNAPSHOT), items)
    columns = np.pad(table.columns.astype(np.int64), ((0, 1), (0, 0)), constant_values=-1)
    additions = np.pad(np.float32(blend.weight) * table.weights, ((0, 1), (0, 0)))
    return NeighbourTable(np.where(columns < 0, items, columns), np.where(columns < 0, np.float32(0), additions), blend.decay)
