"""Ranking many lists a chunk at a time, so that no matrix of all scores is ever held."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from cartwheel.core.memory import trim
from cartwheel.core.progress import progress
from models.metrics.ranking import Ints, Numbers, Placement, place, top_columns

_CELLS: Final = 3_000_000
"""Scores of one chunk: 24 MB of float64, and scorers hold several such arrays. A matrix product over far fewer lists spends its time on
getting the items in place."""
_CORES: Final = os.cpu_count() or 1
_THREADS: Final = min(4, _CORES)
"""Chunks that are looked at while the next one is scored; as many and one more are held in memory at once."""


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

    def cut(self, depth: int) -> Judged:
        """Return the same with at most the first ``depth`` items of each list."""
        return Judged(self.placement, self.top[:, :depth])


@dataclass(frozen=True)
class Chunk:
    """Some successive lists with their answers.

    Attributes:
        scores: [a, N].
        truth_row: [p] list of each truth item, 0 ... a-1.
        truth_column: [p] its column.
        n_truth: [a] truth items of each list, in the catalogue or not.
        competing: makes of the scores those that are looked at, ``-inf`` for what does not compete; run by the thread that looks, while
            the next chunk is scored.
    """

    scores: Numbers
    truth_row: Ints
    truth_column: Ints
    n_truth: Ints
    competing: Callable[[Numbers], Numbers]


def pairs_of(row: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """Find the pairs of some lists, in time that does not grow with how many pairs there are of others.

    Args:
        row: [p] list of each pair, ascending.
        chosen: [a] lists, ascending.

    Returns:
        [r] the list of each pair that is found, numbered by its place in ``chosen``; [r] where the pair stands.

    >>> pairs_of(np.array([0, 2, 2, 5]), np.array([2, 5]))
    (array([0, 0, 1]), array([1, 2, 3]))
    """
    first = np.searchsorted(row, chosen)
    count = np.searchsorted(row, chosen, "right") - first
    renumbered = np.repeat(np.arange(len(chosen)), count)
    return renumbered, np.arange(len(renumbered)) + np.repeat(first - np.cumsum(count) + count, count)


def rank(lists: int, items: int, depth: int, title: str, chunk: Callable[[int, int], Chunk], *, shared: bool = False) -> Judged:
    """Rank N items for A lists.

    Args:
        lists: A.
        items: N.
        depth: K, how many of the first items of each list to keep.
        title: what to call it in the progress.
        chunk: scores the lists from a number up to another; called in order and by one thread, while others look at earlier chunks.
        shared: whether several threads may call it at a time, in any order; then each scores its chunk and looks at it.

    Returns:
        Placements, exact in expectation over ties, and the first K, whose ties go to the lower column.

    Raises:
        ValueError: if a score is NaN or a list has no truth item.
    """
    done = [Judged(Placement.join([]), np.zeros((0, min(depth, items)), np.int64))]
    waiting: deque[Future[Judged]] = deque()
    step = max(1, _CELLS // max(1, items))

    def take(most: int) -> None:
        while len(waiting) > most:
            done.append(waiting.popleft().result())
            advance(len(done[-1].top))

    # Threads of a matrix product burn their cores while they wait for the next one: half are left to those who look at the last.
    fewer = threadpool_limits(max(1, _CORES // 2), "blas")
    with progress(title, lists) as advance, fewer, ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, lists, step):
            stop = min(start + step, lists)
            if shared:
                waiting.append(pool.submit(lambda begin, end: _look_at(chunk(begin, end), depth), start, stop))
            else:
                waiting.append(pool.submit(_look_at, chunk(start, stop), depth))
            take(_THREADS)
        take(0)
    trim()  # of the chunks, which threads have held by pieces, so that what is learnt next has the room
    return Judged(Placement.join([part.placement for part in done]), np.concatenate([part.top for part in done]))


def _look_at(chunk: Chunk, depth: int) -> Judged:
    scores = chunk.competing(chunk.scores)
    top = top_columns(scores, depth)
    return Judged(place(scores, chunk.truth_row, chunk.truth_column, chunk.n_truth, checked=True), top)
