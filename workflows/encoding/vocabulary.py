"""Which users, items, categories and brands get ids of their own, counted on the training examples alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from workflows.compiler.lists import leaves
from workflows.features.column import Column, Kind
from workflows.settings import FeatureSettings

_LISTS = {"item_category": "recent_categories", "item_brand": "recent_brands"}


def count_users(examples: pl.DataFrame) -> pl.DataFrame:
    """Count the training examples of each ``user_id``, the empty one of anonymous shoppers included.

    Args:
        examples: the training ``recommend`` table.

    Returns:
        ``value``, ``count``.
    """
    return examples.group_by(pl.col("user_id").alias("value")).agg(pl.len().alias("count"))


def count_items(examples: pl.DataFrame) -> pl.DataFrame:
    """Count the training events of each item that the examples tell of.

    An item counts once for each example whose target it is, and once more for each shopper who has it among the recent items without
    it ever being that shopper's target. Mere mentions do not add up: one view stays one event however many later examples recall it.

    Args:
        examples: the training ``recommend`` table.

    Returns:
        ``value``, ``count``; ``""`` is no item and is left out.
    """
    shopper = examples["user_key"].rank("dense").alias("shopper")
    targets = examples.select(shopper, pl.col("item_id").alias("value"))
    lengths = examples["recent_items"].list.len().to_numpy()
    recalled = pl.DataFrame({"shopper": shopper.to_numpy().repeat(lengths), "value": leaves(examples["recent_items"])}).unique()
    recalled = recalled.join(targets, on=["shopper", "value"], how="anti")
    seen = pl.concat([targets.select("value"), recalled.select("value")])
    return seen.filter(pl.col("value") != "").group_by("value").agg(pl.len().alias("count"))


def count_properties(examples: pl.DataFrame, column: str) -> pl.DataFrame:
    """Count the mentions of each category or brand, of the target or of a recent item.

    Args:
        examples: the training ``recommend`` table.
        column: ``item_category`` or ``item_brand``.

    Returns:
        ``value``, ``count``.
    """
    recalled = leaves(examples[_LISTS[column]]).alias("value")
    recalled = recalled.filter(recalled != "")
    seen = pl.concat([examples[column].alias("value"), recalled])
    return seen.to_frame().group_by("value").agg(pl.len().alias("count"))


def choose(counts: pl.DataFrame, least: int) -> list[str]:
    """Return the values seen at least ``least`` times, most frequent first and equals in order of their characters.

    The most frequent value is kept even where it is too rare, because NVTabular cannot write an empty vocabulary.
    """
    ordered = counts.sort(["count", "value"], descending=[True, False])
    kept = max(ordered.filter(pl.col("count") >= least).height, 1)
    values: list[str] = ordered["value"].head(kept).to_list()
    return values


def grown(earlier: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """Return an earlier vocabulary with the newly chosen values that it lacks behind it: every old value keeps its id.

    >>> grown(["b", "a"], ["a", "c"])
    ['b', 'a', 'c']
    """
    return list(dict.fromkeys([*earlier, *chosen]))


def choose_vocabularies(
    examples: pl.DataFrame,
    settings: FeatureSettings,
    earlier: Mapping[str, Sequence[str]] | None = None,
    own: Sequence[Column] = (),
) -> dict[str, list[str]]:
    """Choose the vocabularies that all tables share.

    Args:
        examples: the training ``recommend`` table, not empty.
        settings: frequency thresholds.
        earlier: the vocabularies that grow; None starts anew.
        own: a shop's own columns, of which categories get a vocabulary each.

    Returns:
        Domain (``user_id``, ``item_id``, ``item_category``, ``item_brand``) -> its values in the order of their ids.
    """
    chosen = {
        "user_id": choose(count_users(examples), settings.min_user_events),
        "item_id": choose(count_items(examples), settings.min_item_events),
        "item_category": choose(count_properties(examples, "item_category"), 1),
        "item_brand": choose(count_properties(examples, "item_brand"), 1),
    }
    for column in own:
        if column.kind is Kind.CATEGORY:
            counts = examples.group_by(pl.col(column.name).alias("value")).agg(pl.len().alias("count"))
            chosen[column.name] = choose(counts, column.min_events)
    return {domain: grown((earlier or {}).get(domain, ()), values) for domain, values in chosen.items()}
