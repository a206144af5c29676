"""Metrics of ranked lists, exact in expectation where scores tie.

A model that gives many items the same score (a popularity count does) has not ranked them. Every metric here is the expected value over all
orders of the tied items, so that a constant scorer gets exactly what chance gives it, whatever the order in which items happen to be stored
(McSherry and Najork, ECIR 2008, https://doi.org/10.1007/978-3-540-78646-7_38).

Notation: a list has n truth items. A truth item has ``above`` = a candidates with a higher score, and shares its score with
``tied`` = m candidates, itself included, of which ``tied_truth`` = r are true. Its rank is uniform on a+1 ... a+m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.floating[Any]]

_SORTING: Final = 700
"""Truth items of a list from which on its scores are sooner sorted than compared with each of them, as measured on 100,000."""
_NAN: Final = "Some scores are NaN; a ranking needs numbers"


@dataclass(frozen=True)
class Placement:
    """Where the truth items of A lists stand: one entry for each truth item that could be recommended.

    Truth items that are no candidates appear in ``n_truth`` only, and so count as missed.
    """

    row: Ints
    """[P] the list that the truth item belongs to, 0 ... A-1."""
    above: Ints
    """[P] candidates of the list with a higher score."""
    tied: Ints
    """[P] candidates of the list with the same score, itself included."""
    tied_truth: Ints
    """[P] truth items of the list with the same score, itself included."""
    n_truth: Ints
    """[A] truth items of each list, candidates or not; at least 1."""

    @staticmethod
    def join(parts: Sequence[Placement]) -> Placement:
        """Put the placements of successive chunks of lists together."""
        offsets = np.cumsum([0, *(len(part.n_truth) for part in parts)])[:-1]
        return Placement(
            row=_joined([part.row + offset for part, offset in zip(parts, offsets, strict=True)]),
            above=_joined([part.above for part in parts]),
            tied=_joined([part.tied for part in parts]),
            tied_truth=_joined([part.tied_truth for part in parts]),
            n_truth=_joined([part.n_truth for part in parts]),
        )


def place(scores: Numbers, truth_row: Ints, truth_column: Ints, n_truth: Ints, *, checked: bool = False) -> Placement:
    """Find where truth items stand among scored candidates.

    Args:
        scores: [A, N] scores, higher is better; ``-inf`` marks what must not be recommended.
        truth_row: [P] list of each truth item among the candidates.
        truth_column: [P] its column in ``scores``.
        n_truth: [A] truth items of each list, candidates or not.
        checked: whether the caller knows that no score is NaN, as ``top_columns`` tells, so that it need not be looked at again.

    Returns:
        The placement; truth items that must not be recommended are left out of it, and so count as missed.

    Raises:
        ValueError: if a score is NaN or a list has no truth item.

    >>> place(np.array([[0.5, 0.9, 0.5]]), np.array([0]), np.array([2]), np.array([1]))  # doctest: +NORMALIZE_WHITESPACE
    Placement(row=array([0]), above=array([1]), tied=array([2]), tied_truth=array([1]), n_truth=array([1]))
    """
    if not checked:
        _require_numbers(scores)
    if (n_truth < 1).any():
        raise ValueError("Some lists have no truth item; leave them out")
    from models.metrics.compiled import count_above_and_tied

    own = scores[truth_row, truth_column]
    kept = own > -np.inf
    row, own = truth_row[kept].astype(np.int64), own[kept]
    above, tied = np.zeros(len(row), np.int64), np.zeros(len(row), np.int64)
    order = np.argsort(row, kind="stable")
    crowded = np.bincount(row, minlength=len(scores)) >= _SORTING
    count_above_and_tied(np.ascontiguousarray(scores), row, own, order[~crowded[row[order]]], above, tied)
    for number in np.flatnonzero(crowded):
        mine, ordered = np.flatnonzero(row == number), np.sort(scores[number])
        last = np.searchsorted(ordered, own[mine], "right")
        above[mine], tied[mine] = len(ordered) - last, last - np.searchsorted(ordered, own[mine], "left")
    group = row * (scores.shape[1] + 1) + above
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    return Placement(row, above, tied, counts[inverse].astype(np.int64), n_truth.astype(np.int64))


def recall(placement: Placement, k: int) -> Floats:
    """Return [A] the expected share of each list's truth items among its first k.

    recall@k = (1/n) * sum over truth items of clip((k - a) / m, 0, 1), by linearity of expectation (van Rijsbergen, "Information
    Retrieval", 1979, chapter 7).

    >>> two_tied = place(np.array([[0.9, 0.5, 0.5]]), np.array([0]), np.array([2]), np.array([1]))
    >>> recall(two_tied, 1), recall(two_tied, 2), recall(two_tied, 3)
    (array([0.]), array([0.5]), array([1.]))
    """
    inside = np.clip((k - placement.above) / placement.tied, 0.0, 1.0)
    return _per_list(placement, inside) / placement.n_truth


def ndcg(placement: Placement, k: int) -> Floats:
    """Return [A] the expected normalised discounted cumulative gain of each list's first k, with gains 0 and 1.

    With D(j) = sum for r = 1 ... j of 1 / log2(r + 1): NDCG@k = sum over truth items of
    (D(min(a + m, k)) - D(min(a, k))) / m, over D(min(n, k)) (Jarvelin and Kekalainen, 2002,
    https://doi.org/10.1145/582415.582418).

    >>> second = place(np.array([[0.9, 0.5, 0.1]]), np.array([0]), np.array([1]), np.array([1]))
    >>> ndcg(second, 10).round(4)
    array([0.6309])
    """
    discount = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))])
    last = np.minimum(placement.above + placement.tied, k)
    gain = (discount[last] - discount[np.minimum(placement.above, k)]) / placement.tied
    ideal: Floats = discount[np.minimum(placement.n_truth, k)]
    return _per_list(placement, gain) / ideal


def hit_rate(placement: Placement, k: int) -> Floats:
    """Return [A] the probability that a list's first k hold at least one truth item.

    Of a group of m tied candidates, r of them true, the first t = clip(k - a, 0, m) are shown; none is true with chance
    C(m - r, t) / C(m, t) = product for i = 0 ... r-1 of (m - t - i) / (m - i). Groups are independent. (Deshpande and Karypis, TOIS
    2004, https://doi.org/10.1145/963770.963776.)

    >>> hit_rate(place(np.zeros((1, 4)), np.array([0, 0]), np.array([1, 2]), np.array([2])), 1)
    array([0.5])
    """
    first = _first_of_group(placement)
    tied, truths = placement.tied[first], placement.tied_truth[first]
    shown = np.clip(k - placement.above[first], 0, tied)
    missed = np.ones(len(first))
    for index in range(int(truths.max(initial=0))):
        factor = np.maximum(tied - shown - index, 0) / np.maximum(tied - index, 1)
        missed *= np.where(index < truths, factor, 1.0)
    none = np.ones(len(placement.n_truth))
    np.multiply.at(none, placement.row[first], missed)
    return 1.0 - none


def reciprocal_rank(placement: Placement, k: int | None = None) -> Floats:
    """Return [A] the expected reciprocal rank of each list's first truth item, 0 where no truth item is a candidate.

    Only the best group that holds a truth item matters. The first of its r truth items stands at place j of the m with chance C(m - j, r -
    1) / C(m, r), so the metric is the sum over j of that probability times 1 / (a + j). (Voorhees, "The TREC-8 question answering track
    report", 1999.)

    Args:
        placement: where the truth items stand.
        k: how many of the first places count, a truth item further down being missed; None for all.

    >>> two_tied = place(np.array([[0.9, 0.5, 0.5]]), np.array([0]), np.array([2]), np.array([1]))
    >>> reciprocal_rank(two_tied), reciprocal_rank(two_tied, 2)  # (1/2 + 1/3) / 2 and (1/2 + 0) / 2
    (array([0.41666667]), array([0.25]))
    """
    result = np.zeros(len(placement.n_truth))
    order = np.lexsort((placement.above, placement.row))
    best = order[np.unique(placement.row[order], return_index=True)[1]]
    if k is not None:
        best = best[placement.above[best] < k]
    expected = 1.0 / (placement.above[best] + 1.0)
    shared = np.flatnonzero(placement.tied[best] > 1)
    if len(shared):
        groups = np.stack([placement.above[best], placement.tied[best], placement.tied_truth[best]], axis=1)[shared]
        kinds, inverse = np.unique(groups, axis=0, return_inverse=True)
        means = np.array([_expected_reciprocal(*map(int, kind), last=k) for kind in kinds])
        expected[shared] = means[inverse.reshape(-1)]
    result[placement.row[best]] = expected
    return result


def precision(placement: Placement, k: int) -> Floats:
    """Return [A] the expected share of true items among each list's first k; places that nothing fills count as false.

    precision@k = (1/k) * sum over truth items of clip((k - a) / m, 0, 1) (van Rijsbergen, "Information Retrieval", 1979, chapter 7).

    >>> two_tied = place(np.array([[0.9, 0.5, 0.5]]), np.array([0]), np.array([2]), np.array([1]))
    >>> precision(two_tied, 1), precision(two_tied, 2)
    (array([0.]), array([0.25]))
    """
    inside = np.clip((k - placement.above) / placement.tied, 0.0, 1.0)
    return _per_list(placement, inside) / k


def average_precision(placement: Placement, k: int) -> Floats:
    """Return [A] the expected average precision of each list's first k, whose mean over lists is MAP@k.

    AP@k = (1 / min(n, k)) * sum over places i <= k that hold a truth item of precision@i (Buckley and Voorhees, SIGIR 2000,
    https://doi.org/10.1145/345508.345543). A place j of a tied group with h truth items above it is true with chance r/m, and then has
    h + 1 + (j - 1)(r - 1)/(m - 1) true items up to it in expectation (McSherry and Najork, 2008).

    >>> average_precision(place(np.array([[0.9, 0.7, 0.5]]), np.array([0, 0]), np.array([0, 2]), np.array([2])), 3)  # (1 + 2/3) / 2
    array([0.83333333])
    >>> average_precision(place(np.zeros((1, 2)), np.array([0]), np.array([1]), np.array([1])), 2)  # (1 + 1/2) / 2
    array([0.75])
    """
    first = _first_of_group(placement)
    above, tied, truths = placement.above[first], placement.tied[first], placement.tied_truth[first]
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, k + 1))])
    shown = np.clip(k - above, 0, tied)
    start = np.minimum(above, k)
    step = np.divide(truths - 1, tied - 1, out=np.zeros(len(first)), where=tied > 1)
    level = _truths_above(placement, first) + 1 - step * (above + 1)
    gain = truths / tied * (level * (harmonic[start + shown] - harmonic[start]) + step * shown)
    total = np.bincount(placement.row[first], weights=gain, minlength=len(placement.n_truth))
    result: Floats = total / np.minimum(placement.n_truth, k)
    return result


def coverage(top: Ints, items: int, k: int) -> float:
    """Return the share of the catalogue that is shown to anybody: distinct items among all first k, over ``items``.

    Ge, Delgado-Battenfeld and Jannach, RecSys 2010, https://doi.org/10.1145/1864708.1864761. Ties are broken by the order of
    the catalogue, as a server must do: a popularity list shows the same items to everybody, tied or not.

    Args:
        top: [A, K] columns of the shown items, best first; -1 where a list is shorter.
        items: size of the catalogue.
        k: how many of the K are shown.

    >>> coverage(np.array([[0, 1], [0, -1]]), items=4, k=2)
    0.5
    """
    shown = np.unique(top[:, :k])
    return float(np.count_nonzero(shown >= 0) / items)


def top_columns(scores: Numbers, k: int) -> Ints:
    """Return [A, min(k, N)] the columns of the highest scores, best first; ties go to the lower column.

    Columns scored ``-inf`` are never shown; -1 fills a list that has too few others.

    Raises:
        ValueError: if a score is NaN.

    >>> top_columns(np.array([[0.1, 0.7, 0.7, -np.inf]]), 4)
    array([[ 1,  2,  0, -1]])
    """
    from models.metrics.compiled import best_columns

    top = np.full((len(scores), min(k, scores.shape[1])), -1, np.int64)
    if not best_columns(np.ascontiguousarray(scores), top):
        raise ValueError(_NAN)
    return top


def _require_numbers(scores: Numbers) -> None:
    if np.isnan(scores.max(axis=1, initial=-np.inf)).any():  # a maximum hands NaN on, and needs no matrix of answers
        raise ValueError(_NAN)


def _expected_reciprocal(above: int, tied: int, truths: int, *, last: int | None) -> float:
    places = tied - truths + 1
    place_in_group = np.arange(1, (places if last is None else min(places, last - above)) + 1)
    earlier = place_in_group[:-1]
    chance = truths / tied * np.cumprod(np.concatenate([[1.0], (tied - earlier - truths + 1) / (tied - earlier)]))
    return float(np.sum(chance / (above + place_in_group)))


def _first_of_group(placement: Placement) -> Ints:
    """Return the index of one truth item of each group of tied truth items."""
    group = placement.row * (placement.above.max(initial=0) + 1) + placement.above
    first: Ints = np.unique(group, return_index=True)[1].astype(np.int64)
    return first


def _truths_above(placement: Placement, first: Ints) -> Ints:
    """Return, for one truth item of each group, how many truth items of its list stand in groups above it."""
    order = np.lexsort((placement.above[first], placement.row[first]))
    count = placement.tied_truth[first][order]
    before = np.cumsum(count) - count
    row = placement.row[first][order]
    begins = np.searchsorted(row, row)
    result = np.empty(len(first), np.int64)
    result[order] = before - before[begins]
    return result


def _per_list(placement: Placement, values: Floats) -> Floats:
    return np.bincount(placement.row, weights=values, minlength=len(placement.n_truth)).astype(np.float64)


def _joined(arrays: list[Ints]) -> Ints:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
