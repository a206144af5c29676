"""Metrics beyond accuracy: novelty, diversity, serendipity and coverage.

All of these look at the lists that are shown, whose ties are broken by item code as a server must do; -1 marks a place that nothing fills.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def novelty(top: Ints, interactions: Ints, k: int) -> Floats:
    """Return [A] the mean self-information of each list's first k items, in bits; NaN for an empty list.

    novelty@k = mean over shown items i of -log2(max(c_i, 1) / C), where c_i of the C training interactions were with i (Zhou et al.,
    PNAS 2010, https://doi.org/10.1073/pnas.1000488107; Vargas and Castells, RecSys 2011, https://doi.org/10.1145/2043932.2043955).

    Args:
        top: [A, K] columns of the shown items, best first; -1 where a list is shorter.
        interactions: [N] training interactions of each item.
        k: how many of the K are shown.

    >>> novelty(np.array([[0, 1]]), np.array([4, 4]), k=2)
    array([1.])
    """
    bits = -np.log2(np.maximum(interactions, 1) / max(interactions.sum(), 1))
    return _mean_shown(top[:, :k], bits)


def average_popularity(top: Ints, interactions: Ints, k: int) -> Floats:
    """Return [A] the mean number of training interactions of each list's first k items; NaN for an empty list.

    Average recommendation popularity (Yin et al., VLDB 2012, https://doi.org/10.14778/2311906.2311916).

    >>> average_popularity(np.array([[0, 1], [1, -1]]), np.array([4, 2]), k=2)
    array([3., 2.])
    """
    return _mean_shown(top[:, :k], interactions.astype(np.float64))


def intra_list_diversity(top: Ints, category: Ints, k: int) -> Floats:
    """Return [A] the share of pairs of each list's first k items that are of different categories; NaN where there is no pair.

    The intra-list similarity of Ziegler et al., WWW 2005, https://doi.org/10.1145/1060745.1060754, with the distance 1 between different
    categories and 0 within one. An item of unknown category (0) differs from every other.

    Args:
        top: [A, K] columns of the shown items, best first; -1 where a list is shorter.
        category: [N] category code of each item, 0 where unknown.
        k: how many of the K are shown.

    >>> intra_list_diversity(np.array([[0, 1, 2]]), np.array([7, 7, 3]), k=3).round(4)  # 2 of 3 pairs
    array([0.6667])
    """
    shown = top[:, :k]
    known = np.where(shown >= 0, np.append(category, 0)[shown], 0)
    held = np.count_nonzero(shown >= 0, axis=1)
    pairs = held * (held - 1) / 2
    rows, _ = np.nonzero(known)
    codes = known[known > 0]
    width = int(codes.max(initial=0)) + 1
    groups, counts = np.unique(rows * width + codes, return_counts=True)
    alike = np.bincount(groups // width, weights=counts * (counts - 1) / 2, minlength=len(top))
    return np.divide(pairs - alike, pairs, out=np.full(len(top), np.nan), where=pairs > 0)


def serendipity(top: Ints, expected: Ints, truth_row: Ints, truth_column: Ints, items: int, k: int) -> Floats:
    """Return [A] the share of each list's k places that hold something true that the expected list does not show.

    serendipity@k = |(shown minus expected) and true| / k, the expected list being that of a primitive recommender such as "most popular"
    (Ge, Delgado-Battenfeld and Jannach, RecSys 2010, https://doi.org/10.1145/1864708.1864761).

    Args:
        top: [A, K] columns of the shown items, best first; -1 where a list is shorter.
        expected: [A, K'] columns that the primitive recommender shows, likewise.
        truth_row: [P] list of each truth item.
        truth_column: [P] its column.
        items: N, size of the catalogue.
        k: how many are shown.

    >>> serendipity(np.array([[0, 1]]), np.array([[0, 2]]), np.array([0, 0]), np.array([0, 1]), items=3, k=2)
    array([0.5])
    """
    rows = np.arange(len(top))[:, None] * items
    shown, known = (np.where(lists[:, :k] >= 0, rows + lists[:, :k], -1) for lists in (top, expected))
    hit = np.isin(shown, truth_row * items + truth_column) & ~np.isin(shown, known) & (shown >= 0)
    result: Floats = np.count_nonzero(hit, axis=1) / k
    return result


def gini(top: Ints, items: int, k: int) -> float:
    """Return the Gini coefficient of how often each item of the catalogue is shown: 0 where all alike, near 1 where a few take all.

    G = sum over items, ascending by exposure e, of (2 j - N - 1) e_j / (N sum of e) (Gini, 1912; for recommenders Fleder and Hosanagar,
    Management Science 2009, https://doi.org/10.1287/mnsc.1080.0974). NaN where nothing is shown.

    >>> gini(np.array([[0], [1]]), items=2, k=1), gini(np.array([[0], [0]]), items=2, k=1)
    (0.0, 0.5)
    """
    shown = top[:, :k]
    counts = np.bincount(shown[shown >= 0])
    exposure = np.sort(counts[counts > 0]).astype(np.float64)  # the others come first, and add nothing
    total = exposure.sum()
    if total == 0:
        return float("nan")
    place = np.arange(items - len(exposure) + 1, items + 1)
    return float(np.sum((2 * place - items - 1) * exposure) / (items * total))


def _mean_shown(shown: Ints, values: npt.NDArray[np.floating[Any]]) -> Floats:
    held = shown >= 0
    number = np.count_nonzero(held, axis=1)
    total = np.where(held, np.append(values, 0.0)[shown], 0.0).sum(axis=1)
    return np.divide(total, number, out=np.full(len(shown), np.nan), where=number > 0)
