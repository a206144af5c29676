"""Own columns of the recommender's items are computed again, and one that knew too much ends the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from own_shop import Shop, look_ahead, write_shop

from cartwheel.core.errors import LeakageError
from workflows.features.own import OwnItem
from workflows.prepare.examples import build_examples
from workflows.prepare.known_shop import read_known_shop
from workflows.settings import PrepareSettings


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, log_maker: Callable[..., pl.DataFrame]) -> Shop:
    return write_shop(tmp_path_factory.mktemp("items") / "run", log_maker, count=1800)


def build(shop: Shop, run: Path, settings: PrepareSettings) -> dict[str, int]:
    known = read_known_shop(shop.run)
    return build_examples(shop.run / "events/events.parquet", run, settings, 3, known=known).audit


def test_every_kind_of_own_column_of_items_is_recomputed(shop: Shop, tmp_path: Path, shop_settings: PrepareSettings) -> None:
    audit = build(shop, tmp_path, shop_settings)
    assert audit["rows_of_own_columns_recomputed"] >= 100
    columns = pl.read_parquet_schema(tmp_path / "examples/test/ranking.parquet").names()
    assert {"weight", "genres_0", "description_3", "launch_days", "picture_4", "waterproof", "margin", "rating"} <= set(columns)


def test_a_value_from_after_the_moment_ends_the_run(
    shop: Shop, tmp_path: Path, shop_settings: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ahead(monkeypatch, OwnItem)
    with pytest.raises(LeakageError, match=r"column \w+: item 'i\d+' as of .* but what was known before then gives"):
        build(shop, tmp_path, shop_settings)
    assert not (tmp_path / "examples").exists()
