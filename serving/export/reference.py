"""Writes the reference histograms of an export: users, items acted on, and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.contract.reference import ANSWERED, FILE, ITEM_INPUTS, SCORE, Reference, user_hash
from serving.ensembles.served import ShopParts
from serving.local import LocalRepository

_ASKED: Final = 512
"""Users whose answers make the histogram of scores."""
_AT_ONCE: Final = 64
_DAY_US: Final = 86_400_000_000
_BINS: Final = 10
_CATEGORIES: Final = 20
"""Most categories with a bin of their own; the rest share one."""
Ints = npt.NDArray[np.int16]
Shares = npt.NDArray[np.float64]


def write_reference(root: Path, shop: ShopParts, max_batch: int) -> None:
    """Write the file into the folder of a repository that can be asked already.

    Items count by their recent events. Scores and categories are those of the first item that users of the snapshot are answered with, over
    the day after it; they do not depend on how many are asked for.
    """
    catalogue, users = shop.snapshot.catalogue, shop.snapshot.shoppers.ids
    count = len(catalogue.ids)
    acted = catalogue.popularity[:count].astype(np.float64)
    weights = acted if acted.sum() > 0 else np.ones(count)
    category, price, popularity = ITEM_INPUTS
    bins = {
        category: _of_codes(catalogue.category_codes[:count], weights),
        price: _of_numbers(catalogue.prices[:count].astype(np.float64), weights),
        popularity: _of_numbers(acted, weights),
    }
    shares = {name: _shares(bins[name], weights, int(bins[name].max(initial=0)) + 1) for name in bins}
    asked = (
        [users[place] for place in np.unique(np.linspace(0, len(users) - 1, min(_ASKED, len(users))).astype(int))]
        if users
        else [""]
    )
    items, scores = _answers(root, asked, shop.snapshot.state.as_of_us, min(_AT_ONCE, max_batch))
    edges = np.unique(np.round(np.quantile(scores, np.arange(1, _BINS) / _BINS), 6)) if len(scores) else np.zeros(0)
    places = {item: place for place, item in enumerate(catalogue.ids)}
    answered = bins[category][[places[item] for item in items]]
    shares[ANSWERED] = _shares(answered, np.ones(len(answered)), len(shares[category]))
    shares[SCORE] = _shares(np.searchsorted(edges, scores).astype(np.int16), np.ones(len(scores)), len(edges) + 1)
    hashes = np.sort(np.array([user_hash(user) for user in users], np.uint64))
    Reference(bins, shares, edges, hashes).write(root / FILE)


def _answers(root: Path, users: list[str], as_of_us: int, at_once: int) -> tuple[list[str], Shares]:
    served = LocalRepository(root)
    items: list[str] = []
    scores: list[float] = []
    for start in range(0, len(users), at_once):
        asked = np.array(users[start : start + at_once], object)[:, None]
        moments = as_of_us + np.arange(start, start + len(asked), dtype=np.int64)[:, None] * (_DAY_US // len(users))
        answer = served.ask("recommend", user_id=asked, timestamp=moments, k=np.array([1], np.int32))
        for item, score in zip(answer["items"].ravel().tolist(), answer["scores"].ravel().tolist(), strict=True):
            if item:
                items.append(item if isinstance(item, str) else item.decode())
                scores.append(score)
    return items, np.array(scores)


def _of_codes(codes: npt.NDArray[np.int64], weights: Shares) -> Ints:
    """Return bins of the categories with most events, the first for the rest."""
    order = np.argsort(-np.bincount(codes, weights), kind="stable")[:_CATEGORIES]
    bin_of = np.zeros(int(codes.max(initial=0)) + 1, np.int16)
    bin_of[order] = np.arange(1, len(order) + 1)
    return bin_of[codes]


def _of_numbers(values: Shares, weights: Shares) -> Ints:
    """Return bins with about as many events each, the first for what is not known."""
    known = ~np.isnan(values)
    order = np.argsort(values[known], kind="stable")
    heavy = np.cumsum(weights[known][order])
    total = heavy[-1] if len(heavy) else 0.0
    places = np.searchsorted(heavy, np.arange(1, _BINS) / _BINS * total)
    edges = np.unique(values[known][order][np.minimum(places, len(order) - 1)]) if total > 0 else np.zeros(0)
    return np.where(known, 1 + np.searchsorted(edges, np.where(known, values, 0.0), side="left"), 0).astype(np.int16)


def _shares(bins: Ints, weights: Shares, number: int) -> Shares:
    counted = np.bincount(bins, weights, number)
    total = counted.sum()
    shares: Shares = counted / total if total > 0 else np.full(number, 1.0 / number)
    return shares
