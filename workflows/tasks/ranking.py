"""Examples of the ranking model: the item a shopper turned to, and sampled items they did not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workflows.events.asof import Bools, Floats, Ints, expand
from workflows.events.event_log import float32, instants
from workflows.features.item import ItemHistory, state_instant
from workflows.features.pair import cross_features
from workflows.features.shopper import Queries, ShopperFeatures
from workflows.settings import PrepareSettings
from workflows.tasks.leave_out import LeftOut
from workflows.tasks.negatives import NegativeSampler
from workflows.tasks.recommend import RecommendExamples


def ranking_frame(
    history: ShopperFeatures,
    items: ItemHistory,
    sampler: NegativeSampler,
    examples: RecommendExamples,
    settings: PrepareSettings,
    rng: np.random.Generator,
    left_out: LeftOut,
) -> tuple[pl.DataFrame, int]:
    """Put sampled negatives beside the targets of the latest recommend examples of a split.

    A target that the shop had not sold by the state instant of its anchor makes no example: no negative can be like it, so a
    model would learn that unseen items are the wanted ones, and no candidate set would ever hold it.

    Args:
        history: the interactions.
        items: the item statistics.
        sampler: draws the negatives; see there for the rule.
        examples: the recommend examples of the split.
        settings: how many negatives and rows.
        rng: the only source of randomness.
        left_out: what is left out for a shopper is no negative either: it is no candidate, so nobody passed it over.

    Returns:
        The frame (``example_id``, ``anchor``, query scalars, item columns, cross columns, ``label``; the rows of an example
        follow one another, the target first), and how many examples were left out because their target was not yet sold.
    """
    instant = state_instant(examples.anchors.anchor, settings.state_minutes)
    sold = items.on_sale[examples.anchors.item] < instant
    kept = np.flatnonzero(sold)[-max(settings.max_train_examples // (1 + settings.negatives), 1) :]
    anchors, instant = examples.anchors.take(kept), instant[kept]

    recent = examples.queries.recent[kept]

    def hides(anchor: Ints, item: Ints) -> Bools:
        return left_out.hides(anchors.key[anchor], anchors.anchor[anchor], item, recent[anchor])

    drawn = sampler.draw(instant, _forbidden(history, examples, kept), settings.negatives, rng, hides)
    offered = np.concatenate([anchors.item[:, None], drawn], axis=1)
    offered[(drawn >= 0).sum(axis=1) == 0] = -1
    number, place = np.nonzero(offered >= 0)
    item = offered[number, place]
    state = items.arrays(item, instant[number])
    continuous = {name: values[kept] for name, values in examples.queries.continuous.items()}
    queries = Queries(anchors.key, anchors.anchor, continuous, recent)
    head = pl.DataFrame({"example_id": pl.Series(values=anchors.example, dtype=pl.Int64), "anchor": instants(anchors.anchor)})
    query_frame = head.hstack(history.frame(queries, lists=False))[number]
    label = pl.Series("label", (place == 0).astype(np.int8), dtype=pl.Int8)
    offered_columns = items.frame(item, state).hstack(cross_frame(history, queries, number, state))
    return query_frame.hstack(offered_columns).hstack([label]), int((~sold).sum())


def cross_frame(history: ShopperFeatures, queries: Queries, number: Ints, state: dict[str, Floats | Ints]) -> pl.DataFrame:
    """Compute the cross columns of rows that pair a query with an item.

    Args:
        history: the interactions that ``queries`` look back on.
        queries: the queries, [Q].
        number: int64 [N], which query each row belongs to.
        state: the item state of each row (see ``ItemHistory.arrays``), [N].

    Returns:
        ``columns.CROSS`` as Float32, null = unknown; [N] rows.
    """
    features = cross_features(
        history.recent_codes(queries.recent, history.category)[number],
        history.recent_codes(queries.recent, history.brand)[number],
        queries.continuous["user_mean_price"][number],
        state["item_category"],
        state["item_brand"],
        state["item_price"],
    )
    return pl.DataFrame({name: _single(values) for name, values in features.items()})


def _single(values: npt.NDArray[Any]) -> pl.Series:
    return float32(values.astype(np.float64))


def _forbidden(history: ShopperFeatures, examples: RecommendExamples, kept: Ints) -> tuple[Ints, Ints]:
    """Pair each kept anchor with its recent items, all that the shopper turned to at its instant, and what else is true for it."""
    recent = examples.queries.recent[kept]
    key, instant = examples.anchors.key[kept], examples.anchors.anchor[kept]
    together, row = expand(history.bounds(key, instant)[1], history.bounds(key, instant + 1)[1])
    number, place = np.nonzero(recent >= 0)
    true = np.repeat(np.arange(len(examples.truth_sizes)), examples.truth_sizes)
    renumbered = np.full(len(examples.truth_sizes), -1, dtype=np.int64)
    renumbered[kept] = np.arange(len(kept))
    relevant = renumbered[true] >= 0
    return (
        np.concatenate([number, together, renumbered[true[relevant]]]),
        np.concatenate([history.item[recent[number, place]], history.item[row], examples.truth[relevant]]),
    )
