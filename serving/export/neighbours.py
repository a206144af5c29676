"""What validation adds to the retrieval model, as ``models/item_to_item`` of a run holds it, over the catalogue that is served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cartwheel.core.run_layout import SNAPSHOT, RunLayout
from cartwheel.core.tables import read_table
from models.families.neighbours.blend import POPULARITY, Blend, log_popularity, read_blend
from models.families.neighbours.table import Neighbours
from serving.export.run_files import floats
from serving.pieces.retrieve import Bases
from serving.pieces.state import NeighbourTable


@dataclass(frozen=True)
class ServedBlend:
    """What a run adds to the scores of its retrieval model.

    Attributes:
        bases: what popularity adds and how much the model's own score counts; None where it retrieves alone.
        tables: the tables of neighbours.
    """

    bases: Bases | None
    tables: tuple[NeighbourTable, ...]


def read_served_blend(run: Path, items: int, recents: int) -> ServedBlend:
    """Read the blend of a run.

    Args:
        run: run directory.
        items: N, size of the served catalogue.
        recents: L, most recent items of a query.

    Raises:
        RunError: if a file is corrupt or of another catalogue.
    """
    blend = read_blend(run)
    if blend.alone:
        return ServedBlend(None, ())
    return ServedBlend(_bases(run, blend), tuple(_tables(run, blend, items, recents)))


def _bases(run: Path, blend: Blend) -> Bases:
    snapshot = read_table(RunLayout(run).snapshot("items"))
    logs = log_popularity({name: floats(snapshot[name]) for name in POPULARITY})
    return Bases(blend.bases(logs), blend.retrieval)


def _tables(run: Path, blend: Blend, items: int, recents: int) -> list[NeighbourTable]:
    tables = []
    for shares in blend.tables:
        table = Neighbours.read(RunLayout(run).item_to_item.neighbours(SNAPSHOT, shares.learner), items)
        columns = np.pad(table.columns.astype(np.int64), ((0, 1), (0, 0)), constant_values=-1)
        additions: npt.NDArray[np.float32] = np.pad(table.weights, ((0, 1), (0, 0)))
        additions = np.where(columns < 0, np.float32(0), additions)
        tables.append(NeighbourTable(np.where(columns < 0, items, columns), additions, shares.by_age(recents)))
    return tables
