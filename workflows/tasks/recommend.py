"""Examples of the task "recommend": shopper, time, history, and the items they turned to next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from workflows.events.asof import Bools, Ints, expand, parts_of
from workflows.events.event_log import DAY_US, EventLog, instants, ragged_strings
from workflows.features.item import ItemHistory, state_instant
from workflows.features.shopper import Queries, ShopperFeatures
from workflows.settings import PrepareSettings
from workflows.tasks.leave_out import LeftOut, left_out_lists
from workflows.tasks.split import Split, SplitName

REFIT: Final = "refit"
"""Table of ``examples/valid``: its interactions in the form of training examples, for a model that has been validated and then learns from
validation as well, as it must before it is tested or served."""

_ROWS_AT_ONCE: Final = 4_000_000
_ANCHORS_AT_ONCE: Final = 1_000_000


@dataclass(frozen=True)
class Anchors:
    """Interactions that may become examples, each [A], sorted by (anchor, example).

    Attributes:
        key: int64, history key.
        anchor: int64, the instant of the interaction, microseconds.
        item: int64, the item of the interaction.
        example: int64, row of the interaction in the events file.
    """

    key: Ints
    anchor: Ints
    item: Ints
    example: Ints

    def take(self, rows: Ints | Bools) -> Anchors:
        """Keep some of the anchors, in the order given."""
        return Anchors(self.key[rows], self.anchor[rows], self.item[rows], self.example[rows])


@dataclass(frozen=True)
class RecommendExamples:
    """The examples of one split.

    Attributes:
        anchors: the examples, [A].
        queries: their features.
        truth_sizes: int64 [A], how many items are true for each.
        truth: int64 [sum of sizes], their codes, the anchor's own item first.
        hidden: number of the example and item code of what is left out, int64 [P] each; empty where the examples are learnt from.
    """

    anchors: Anchors
    queries: Queries
    truth_sizes: Ints
    truth: Ints
    hidden: tuple[Ints, Ints]


def find_anchors(history: ShopperFeatures, left_out: LeftOut) -> tuple[Anchors, int]:
    """Find the interactions that ask for a recommendation.

    Interactions of one key with one item at one instant are one anchor.

    Args:
        history: the interactions.
        left_out: an interaction with an item that is left out for its shopper is no anchor.

    Returns:
        The anchors, and how many interactions are none.
    """
    order = np.lexsort((history.row, history.item, history.time, history.key))
    same = np.zeros(len(order), dtype=bool)
    same[1:] = np.logical_and.reduce([np.diff(column[order]) == 0 for column in (history.key, history.time, history.item)])
    kept = np.sort(order[~same])
    # In parts: what is looked back on from every interaction of a log would take twenty times its own memory.
    parts = [kept[first : first + _ANCHORS_AT_ONCE] for first in range(0, len(kept), _ANCHORS_AT_ONCE)]
    kept = np.concatenate([kept[:0], *(part[~left_out.hides_of(part)] for part in parts)])
    anchors = Anchors(history.key[kept], history.time[kept], history.item[kept], history.row[kept])
    by_time = np.lexsort((anchors.example, anchors.anchor))
    return anchors.take(by_time), len(history.key) - len(kept)


def choose_anchors(
    anchors: Anchors, split: Split, name: SplitName, settings: PrepareSettings, rng: np.random.Generator
) -> Anchors:
    """Choose the anchors of a split: the latest for training, a sample elsewhere.

    In validation and test the anchors of one key at one instant have the same history and the same truth, so only the first of
    them (in file order) is a candidate.

    Args:
        anchors: all anchors.
        split: the split instants.
        name: which split.
        settings: how many anchors to keep.
        rng: draws the sample.
    """
    if name == "train":
        return latest_anchors(anchors, split, name, settings)
    chosen = anchors.take(split.mask(name, anchors.anchor))
    order = np.lexsort((chosen.example, chosen.key, chosen.anchor))
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (np.diff(chosen.anchor[order]) == 0) & (np.diff(chosen.key[order]) == 0)
    chosen = chosen.take(np.sort(order[~same]))
    size = min(len(chosen.key), settings.max_eval_anchors)
    return chosen.take(np.sort(rng.choice(len(chosen.key), size=size, replace=False)))


def latest_anchors(anchors: Anchors, split: Split, name: SplitName, settings: PrepareSettings) -> Anchors:
    """Return every anchor of a split to learn from, or the latest ``max_train_examples`` of them."""
    chosen = anchors.take(split.mask(name, anchors.anchor))
    return chosen.take(np.arange(len(chosen.key))[-settings.max_train_examples :])


def examples_to_learn(history: ShopperFeatures, anchors: Anchors) -> RecommendExamples:
    """Compute the features of anchors that are learnt from: the truth of each is its own item."""
    queries = history.queries(anchors.key, anchors.anchor)
    none = np.empty(0, dtype=np.int64)
    return RecommendExamples(anchors, queries, np.ones(len(anchors.key), dtype=np.int64), anchors.item, (none, none))


def examples_to_judge(
    history: ShopperFeatures, anchors: Anchors, split: Split, name: SplitName, settings: PrepareSettings, left_out: LeftOut
) -> RecommendExamples:
    """Compute the features and the truth of the chosen anchors of validation or test.

    Truth is every distinct item that the key interacts with from the anchor to ``horizon_days`` after it, within the split, less what is
    left out.
    """
    queries = history.queries(anchors.key, anchors.anchor)
    horizon = anchors.anchor + round(settings.horizon_days * DAY_US) + 1  # one past the last instant that counts
    first = history.bounds(anchors.key, anchors.anchor)[1]
    stop = history.bounds(anchors.key, np.minimum(horizon, split.end_of(name)))[1]
    query, row = _first_mentions(history, first, stop)
    own = history.item[row] == anchors.item[query]
    distinct = np.lexsort((row, ~own, query))
    asker, item = query[distinct], history.item[row[distinct]]
    fresh = ~left_out.hides(anchors.key[asker], anchors.anchor[asker], item, queries.recent[asker])
    sizes = np.bincount(asker[fresh], minlength=len(anchors.key)).astype(np.int64)
    hidden = left_out.pairs(anchors.key, anchors.anchor, queries.recent)
    return RecommendExamples(anchors, queries, sizes, item[fresh], hidden)


def _first_mentions(history: ShopperFeatures, first: Ints, stop: Ints) -> tuple[Ints, Ints]:
    """Find the first interaction with each distinct item in ranges of one key's interactions.

    Args:
        history: the interactions.
        first: int64 [A], first row of each range.
        stop: int64 [A], one past its last row.

    Returns:
        Number of the range and row, int64 [N] each, in order.
    """
    found = []
    # In parts: the horizons of a bot's anchors hold most of the log each.
    for part in parts_of(stop - first, _ROWS_AT_ONCE):
        place, row = expand(first[part], stop[part])
        new = history.previous_of_item[row] < first[part][place]
        found.append((part[place[new]], row[new]))
    ranges, rows = zip(*found, strict=True) if found else ((), ())
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *ranges]), np.concatenate([none, *rows])


def recommend_frame(
    log: EventLog, history: ShopperFeatures, items: ItemHistory, examples: RecommendExamples, settings: PrepareSettings
) -> pl.DataFrame:
    """Write the examples of a split as a frame.

    Returns:
        ``example_id``, ``user_key``, ``anchor``, the query columns, ``target_items``, the item columns of the first target, and
        ``left_out``, which is empty where the examples are learnt from.
    """
    anchors = examples.anchors
    state = items.arrays(anchors.item, state_instant(anchors.anchor, settings.state_minutes))
    head = pl.DataFrame(
        {
            "example_id": pl.Series(values=anchors.example, dtype=pl.Int64),
            "user_key": log.keys.gather(anchors.key),
            "anchor": instants(anchors.anchor),
        }
    )
    targets = ragged_strings(log.items, examples.truth_sizes, examples.truth).alias("target_items")
    query_columns = history.frame(examples.queries, lists=True)
    hidden = left_out_lists(log.items, *examples.hidden, len(anchors.key))
    return head.hstack(query_columns).hstack([targets]).hstack(items.frame(anchors.item, state)).hstack([hidden])
