"""The input columns of the candidate ranker, without its training code, for serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from models.families.neighbours.table import Neighbours
from models.metrics.ranking import Ints
from models.retrieval.ranker.features import Matrix, given_by_tables, list_features, list_names
from workflows.features.columns import CROSS
from workflows.features.feature_set import FeatureSet

RANKER: Final = "ranker"
"""Name of its folder among the models."""


@dataclass(frozen=True)
class RankerColumns:
    """What a ranker reads.

    Attributes:
        tables: names of the tables of neighbours.
        pair: encoded columns of numbers: of the query, of the item, and of both.
        items: those of the item.
    """

    tables: tuple[str, ...]
    pair: tuple[str, ...]
    items: tuple[str, ...]

    @staticmethod
    def of(features: FeatureSet, tables: Sequence[str]) -> RankerColumns:
        """Return what is read of a run with these columns and tables."""
        pair = (*features.query_continuous, *features.item_continuous, *CROSS)
        return RankerColumns(tuple(tables), pair, features.item_continuous)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, in the order of the model's inputs."""
        return (*self.pair, *list_names(self.tables, self.items))

    def rows(
        self,
        pairs: Mapping[str, npt.NDArray[Any]],
        tables: Mapping[str, Neighbours],
        recent: Ints,
        candidates: Ints,
    ) -> dict[str, Matrix]:
        """Return name -> [A, C] float32 of A questions with C candidates each; 0 where there is no candidate.

        Args:
            pairs: the columns ``pair`` of the candidates that there are, list by list.
            tables: those of ``tables``.
            recent: [A, L] recent items, as ``Neighbours.scores`` reads them.
            candidates: [A, C] catalogue columns, -1 behind the last.
        """
        real = candidates >= 0
        columns = {name: np.zeros(candidates.shape, np.float32) for name in self.pair}
        for name in self.pair:
            columns[name][real] = np.asarray(pairs[name], np.float32).reshape(-1)
        given = given_by_tables({name: tables[name] for name in self.tables}, recent, candidates)
        return columns | list_features(real, given, {name: columns[name] for name in self.items})


def read_ranker_tables(run: Path) -> tuple[str, ...]:
    """Return the names of the tables of neighbours that the ranker reads.

    Raises:
        RunError: if the file is missing or lacks them.
    """
    path = RunLayout(run).model(RANKER).config
    content = read_json(path)
    if not isinstance(content.get("tables"), list):
        raise RunError(f"{path} lacks the names of the tables.", "Run `cartwheel train` again.")
    return tuple(str(name) for name in content["tables"])
