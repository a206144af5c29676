"""Recommenders and counts of a run as scorers of a catalogue, for comparison with the run's own models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import RunLayout
from models.families.kept import fit_or_recall
from models.families.popularity_order import PopularityOrder
from models.families.recommender import Recommender
from models.families.tabular.logistic_regression import MOST_POPULAR, POPULARITY
from models.metrics.ranking import Ints, Numbers
from models.questions.anchors import Scorer
from models.questions.interactions import Interactions, Queries
from models.questions.run_log import catalogue_codes, split_start


class RunScorer:
    """A recommender fitted on a run's interactions before a split began, as a scorer of that split's catalogue.

    What ``item_to_item`` has learnt from the same interactions with the same parameters is not learnt again.

    Args:
        recommender: not yet fitted.
        run: run directory.
        split: ``valid`` or ``test``.
        log: ``read_interactions(run)``.
        questions: ``read_questions(run, split, log)``.

    Raises:
        RunError: if the catalogue is missing, or holds an item that the log does not.
    """

    def __init__(self, recommender: Recommender, run: Path, split: str, log: Interactions, questions: Queries) -> None:
        self._recommender, self._questions = recommender, questions
        layout = RunLayout(run)
        self._columns = catalogue_codes(layout.examples(split, "catalogue"), log)
        learnt = layout.item_to_item.learnt(split, recommender.name)
        fit_or_recall(learnt, recommender, log.take(log.time < split_start(run, split)))

    @property
    def shared(self) -> bool:
        """Whether several threads may ask at a time."""
        return self._recommender.shared

    def __call__(self, rows: Ints) -> Numbers:
        """Return [b, N] scores of the catalogue for rows of ``examples/<split>/recommend``."""
        scores: Numbers = self._recommender.scores(self._questions.take(rows))[:, self._columns]
        return scores


def popularity(run: Path, split: str, column: str) -> Scorer:
    """Return the scorer that gives every anchor the same count of the catalogue, 0 where it is unknown; equal ones by popularity.

    Args:
        run: run directory.
        split: ``valid`` or ``test``; the counts are of its start, so they use nothing after it.
        column: ``item_events`` (most popular) or ``item_recent_events`` (recently popular).
    """
    table = read_frame(RunLayout(run).examples(split, "catalogue"), list({column, POPULARITY[MOST_POPULAR]}))
    counts = {name: table[name].fill_null(0.0).fill_nan(0.0).to_numpy().astype(np.float64) for name in table.columns}
    values = PopularityOrder.of_counts(counts[POPULARITY[MOST_POPULAR]]).break_ties(counts[column][None])[0]
    return lambda rows: np.broadcast_to(values, (len(rows), len(values)))
