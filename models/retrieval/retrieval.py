"""Retrieval as it is served: the dot products of the model's vectors and, where validation liked it, the neighbours of the recent items."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cartwheel.core.frames import flattened, read_frame
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from models.families.neighbours.blend import read_blend
from models.families.neighbours.table import Neighbours
from models.metrics.ranking import Ints, Numbers
from models.questions.anchors import QUESTIONS
from models.retrieval.towers import Towers
from workflows.events.event_log import codes_in


class Retrieval:
    """Both parts of a run's retrieval over one split: a ``Scorer``.

    Args:
        run: run directory.
        split: ``valid`` or ``test``.
        rows: the rows of ``examples/<split>/<table>`` that will be asked for; None means all.
        table: the table of questions.

    Raises:
        RunError: if a file of the run is missing or corrupt.
    """

    def __init__(self, run: Path, split: str, rows: Ints | None = None, table: str = QUESTIONS) -> None:
        self.towers = Towers(run, split, rows, table)
        self.blend = read_blend(run)
        self._run, self._split, self._table = run, split, table

    def __call__(self, rows: Ints) -> Numbers:
        """Return [b, N] scores."""
        scores = self.towers(rows)
        if not self.blend.weight:
            return scores
        return scores + np.float32(self.blend.weight) * self._neighbours.scores(self._recent[rows], self.blend.decay)

    def pairs(self, row: Ints, column: Ints) -> npt.NDArray[np.float32]:
        """Return [n] scores of the anchors in examples row ``row`` [n] with the catalogue items ``column`` [n]."""
        scores = np.einsum("nd,nd->n", self.towers.queries[row], self.towers.items[column])
        if self.blend.weight and len(row):
            asked, place = np.unique(row, return_inverse=True)
            spoken_for = self._neighbours.spoken_for(self._recent[asked], self.blend.decay)
            scores += np.float32(self.blend.weight) * np.asarray(spoken_for[place, column], np.float32).ravel()
        return np.asarray(scores, np.float32)

    @cached_property
    def _neighbours(self) -> Neighbours:
        return Neighbours.read(RunLayout(self._run).item_to_item.neighbours(self._split), len(self.towers.items))

    @cached_property
    def _recent(self) -> Ints:
        return read_recent(self._run, self._split, self._table)


def read_recent(run: Path, split: str, table: str = QUESTIONS) -> Ints:
    """Return the recent items of every row of ``examples/<split>/<table>`` as ``Neighbours.scores`` reads them, [A, L].

    Raises:
        RunError: if a file of the run is missing or lacks a column.
    """
    layout = RunLayout(run)
    width = int(read_json(layout.state)["recent_items"])
    lengths, items = flattened(read_frame(layout.examples(split, table), ["recent_items"])["recent_items"])
    catalogue = read_frame(layout.examples(split, "catalogue"), ["item_id"])["item_id"]
    code = codes_in(catalogue, items).to_numpy()
    recent = np.full((len(lengths), width), -1, np.int64)
    recent[np.arange(width) < lengths[:, None]] = np.where(code < 0, len(catalogue), code)
    return recent
