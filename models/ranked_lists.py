"""Ranking many lists a chunk at a time, so that no matrix of all scores is ever held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from cartwheel.progress import progress
from models.metrics.ranking import Ints, Numbers, Placement, place, top_columns

_CELLS: Final = 4_000_000
"""Scores held in memory at once: 32 MB of float64."""


@dataclass(frozen=True)
class Judged:
    """What a scorer made of A lists over N items."""

    placement: Placement
    """Where the truth items stand."""
    top: Ints
    """[A, K] columns of the first K items, best first; -1 where fewer remained."""

    def take(self, chosen: Ints) -> Judged:
        """Return the lists numbered ``chosen`` (ascending), renumbered from 0."""
        placement = self.placement
        kept = np.isin(placement.row, chosen)
        part = Placement(
            np.searchsorted(chosen, placement.row[kept]).astype(np.int64),
            placement.above[kept],
            placement.tied[kept],
            placement.tied_truth[kept],
            placement.n_truth[chosen],
        )
        return Judged(part, self.top[chosen])


@dataclass(frozen=True)
class Chunk:
    """Some successive lists with their answers.

    Attributes:
        scores: [a, N], ``-inf`` for what does not compete.
        truth_row: [p] list of each truth item, 0 ... a-1.
        truth_column: [p] its column.
        n_truth: [a] truth items of each list, in the catalogue or not.
    """

    scores: Numbers
    truth_row: Ints
    truth_column: Ints
    n_truth: Ints


def rank(lists: int, items: int, depth: int, title: str, chunk: Callable[[int, int], Chunk]) -> Judged:
    """Rank N items for A lists.

    Args:
        lists: A.
        items: N.
        depth: K, how many of the first items of each list to keep.
        title: what to call it in the progress.
        chunk: scores the lists from a number up to another.

    Returns:
        Placements, exact in expectation over ties, and the first K, whose ties go to the lower column.
    """
    placements, tops = [], [np.zeros((0, min(depth, items)), np.int64)]
    step = max(1, _CELLS // max(1, items))
    with progress(title, lists) as advance:
        for start in range(0, lists, step):
            part = chunk(start, min(start + step, lists))
            placements.append(place(part.scores, part.truth_row, part.truth_column, part.n_truth))
            tops.append(top_columns(part.scores, depth))
            advance(len(part.scores))
    return Judged(Placement.join(placements), np.concatenate(tops))
