"""The table of items that go together, as ``models/item_to_item`` of a run holds it for the catalogue that is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cartwheel.core.run_layout import SNAPSHOT, RunLayout
from models.families.neighbours.blend import read_blend
from models.families.neighbours.table import Neighbours
from serving.pieces.state import NeighbourTable


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
