"""A fitted candidate ranker, stored in ``models/ranker``."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import RunLayout
from models.families.family import Fitted
from models.families.neighbours.table import Neighbours
from models.families.rows.lightgbm import LightGBMLearner
from models.metrics.ranking import Ints
from models.questions.anchors import QUESTIONS
from models.retrieval.pairs import Pairs
from models.retrieval.ranker.columns import RANKER, RankerColumns, read_ranker_tables
from models.retrieval.ranker.features import Matrix
from models.retrieval.retrieval import read_recent
from models.training.tables import Table
from workflows.features.feature_set import read_feature_set


class ListRanker:
    """The ranker of a run over one split.

    Args:
        run: run directory.
        split: ``valid`` or ``test``.
        table: the table of questions.

    Raises:
        RunError: if a file is missing or corrupt.
    """

    def __init__(self, run: Path, split: str, table: str = QUESTIONS) -> None:
        self._run, self._split, self._table = run, split, table
        self.model = read_ranker_model(run)
        self.columns = RankerColumns.of(read_feature_set(RunLayout(run)), read_ranker_tables(run))

    def scores(self, pairs: Pairs, row: Ints, candidates: Ints) -> Matrix:
        """Return [A, C] float32, what orders the candidates of a list; -inf where there is none.

        Args:
            pairs: columns of the split.
            row: [A] rows of the questions.
            candidates: [A, C] catalogue columns, -1 behind the last.
        """
        real = candidates >= 0
        asker, slot = np.nonzero(real)
        found = pairs.columns(row[asker], candidates[asker, slot], self.columns.pair)
        columns = self.columns.rows(found, self._tables, self._recent[row], candidates)
        ordered = np.full(candidates.shape, -np.inf, np.float32)
        rows = Table(self._run, {name: columns[name][real] for name in self.columns.names})
        ordered[real] = self.model.scores(rows)
        return ordered

    @cached_property
    def _recent(self) -> Ints:
        return read_recent(self._run, self._split, self._table)

    @cached_property
    def _tables(self) -> dict[str, Neighbours]:
        layout = RunLayout(self._run)
        items = len(read_frame(layout.examples(self._split, "catalogue"), ["item_id"]))
        files = layout.item_to_item
        return {name: Neighbours.read(files.neighbours(self._split, name), items) for name in self.columns.tables}


def has_ranker(run: Path) -> bool:
    """Return whether training left a ranker; it leaves none where there was nothing to learn from."""
    return RunLayout(run).model(RANKER).scores.is_file()


def read_ranker_model(run: Path) -> Fitted:
    """Return the trees.

    Raises:
        RunError: if they cannot be read.
    """
    return LightGBMLearner().load(RunLayout(run).model(RANKER).path)
