"""Ranking examples: one target, then negatives of its time, and cross features as brute force has them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from workflows.features import columns
from workflows.features.recompute import cross_columns
from workflows.settings import PrepareSettings
from workflows.tasks.split import SPLITS


@pytest.mark.parametrize("name", SPLITS)
def test_each_example_is_a_target_and_then_its_negatives(
    shop_run: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings, name: str
) -> None:
    ranking = pl.read_parquet(shop_run / "examples" / name / "ranking.parquet")
    assert ranking.columns == ["example_id", "anchor", *columns.QUERY_SCALARS, *columns.ITEM, *columns.CROSS, "label"]
    assert ranking.schema["label"] == pl.Int8
    recommend = pl.read_parquet(shop_run / "examples" / name / "recommend.parquet")
    first_seen = dict(shop_events.group_by("item_id").agg(pl.col("timestamp").min()).iter_rows())
    joined = ranking.join(recommend.select("example_id", "recent_items", "target_items"), on="example_id")
    assert len(joined) == len(ranking)
    for group in joined.partition_by("example_id"):
        assert group["label"].to_list() == [1] + [0] * (len(group) - 1)
        assert 2 <= len(group) <= 1 + shop_settings.negatives
        negatives = group["item_id"].to_list()[1:]
        assert len(set(negatives)) == len(negatives)
        assert not set(negatives) & {*group["recent_items"][0], *group["target_items"][0]}
        instant = group["anchor"].dt.truncate(f"{shop_settings.state_minutes}m")[0]
        assert all(first_seen[item] < instant for item in group["item_id"])


def test_cross_features_equal_brute_force(shop_run: Path) -> None:
    ranking = pl.read_parquet(shop_run / "examples" / "valid" / "ranking.parquet")
    recommend = pl.read_parquet(shop_run / "examples" / "valid" / "recommend.parquet")
    joined = ranking.join(recommend.select("example_id", *columns.QUERY_LISTS), on="example_id")
    for row in joined.iter_rows(named=True):
        for column, value in cross_columns(row, row).items():
            assert row[column] == (value if value is None else pytest.approx(value, rel=1e-4, abs=1e-5)), column
    assert joined["price_gap"].null_count() < len(joined)
    assert (joined["category_affinity"] > 0).any()
