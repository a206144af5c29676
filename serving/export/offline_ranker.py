"""The candidate ranker in NumPy over the served catalogue, and how far its answers can be held to those of the served graph.

Trees jump at their thresholds. Where a number lies so close to one that rounding decides on which side, the answer for that candidate is no
evidence of a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import SNAPSHOT, RunLayout
from models.families.neighbours.table import Neighbours
from models.retrieval.ranker.columns import RANKER, RankerColumns, read_ranker_tables
from workflows.features.feature_set import read_feature_set

_NEAR: Final = 4e-6
"""What single precision may lose of a number, relative to its size or to 1."""
_SAME: Final = 1e-6


class OfflineRanker:
    """The ranker of a run that uses one.

    Args:
        run: run directory.
        items: N, size of the served catalogue.

    Raises:
        RunError: if a file is missing, corrupt or of another catalogue.
    """

    def __init__(self, run: Path, items: int) -> None:
        layout = RunLayout(run)
        self.columns = RankerColumns.of(read_feature_set(layout), read_ranker_tables(run))
        self._trees = OnnxModel(layout.model(RANKER).scores)
        self._tables = {
            name: Neighbours.read(layout.item_to_item.neighbours(SNAPSHOT, name), items) for name in self.columns.tables
        }

    def scores(
        self, pairs: Mapping[str, npt.NDArray[Any]], recent: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return the scores of one question's candidates, [n], and which of them rounding may change.

        Args:
            pairs: encoded columns of the candidates.
            recent: [L] recent items, oldest first; N for an unknown one, -1 behind the last.
            candidates: [n] catalogue rows.
        """
        found = self.columns.rows(pairs, self._tables, recent[None, :], candidates[None, :])
        columns = {name: found[name].reshape(-1, 1) for name in self.columns.names}
        plain = self._trees.table(columns)[:, 0]
        unsure = np.zeros(len(candidates), bool)
        for sign in (1.0, -1.0):
            shifted = {
                name: np.where(values == 0, 0, values + sign * _NEAR * np.maximum(1.0, np.abs(values))).astype(np.float32)
                for name, values in columns.items()  # what is nothing at all is not rounded
            }
            unsure |= np.abs(self._trees.table(shifted)[:, 0] - plain) > _SAME
        return plain, unsure
