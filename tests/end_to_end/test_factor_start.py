"""The two-tower of a real run that begins at a factor model of the run's events."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.run_layout import RunLayout
from models.families.two_tower.factor_start import item_codes, start_from_factors
from models.families.two_tower.model import build_two_tower
from models.families.two_tower.settings import TwoTowerSettings
from models.families.two_tower.train import train_two_tower
from models.metrics.ranking import recall
from models.questions.anchors import judge, read_anchors
from models.questions.run_log import read_interactions, split_start
from models.retrieval.run_scorer import popularity
from models.retrieval.towers import Towers
from models.training.tables import FIRST_ID, Table, read_sizes, read_table
from workflows.features.columns import ITEM, QUERY

SETTINGS = TwoTowerSettings(
    start="factors", similarity="dot", learning_rate=0.001, epochs=2, dimension=16, embedding_dimension=16, hidden=(16,)
)


@pytest.fixture(scope="module")
def layout(run: Path) -> RunLayout:
    return RunLayout(run)


@pytest.fixture(scope="module")
def sizes(layout: RunLayout) -> dict[str, int]:
    return read_sizes(layout.features("train", "recommend"))


def test_each_encoded_item_is_found_in_the_log(layout: RunLayout, sizes: dict[str, int]) -> None:
    log = read_interactions(layout.path)
    codes = item_codes(layout, log, sizes)
    ids = read_table(layout.features("snapshot", "items"), ("item_id",), sizes)["item_id"]
    items = pl.read_parquet(layout.snapshot("items"), columns=["item_id"])["item_id"]
    assert (codes[:FIRST_ID] == -1).all()
    own = np.flatnonzero(ids >= FIRST_ID)
    assert log.item_ids.gather(codes[ids[own]]).to_list() == items.gather(own).to_list()


def test_nothing_from_the_instant_on_is_read(layout: RunLayout, sizes: dict[str, int]) -> None:
    train: Table = read_table(layout.features("train", "recommend"), (*QUERY, *ITEM), sizes)

    def first(before: str | int) -> np.ndarray:
        tower = build_two_tower(SETTINGS, sizes, seed=1)
        assert start_from_factors(tower, train, layout, before, 1) > 100
        return tower.encode_items(train.head(200))

    valid = first("valid")
    np.testing.assert_array_equal(first(split_start(layout.path, "valid")), valid)
    assert np.abs(first("test") - valid).max() > 1e-3


def test_it_finds_more_than_what_is_popular(layout: RunLayout, tmp_path: Path) -> None:
    own = Path(shutil.copytree(layout.path, tmp_path / "run", ignore=shutil.ignore_patterns("models", "repository", "logs")))
    report = train_two_tower(own, SETTINGS, 3)
    assert report.onnx_difference < 1e-4
    anchors = read_anchors(own, "test")
    found, popular = (
        recall(judge(scorer, anchors, 20, "judge").placement, 20).mean()
        for scorer in (Towers(own, "test"), popularity(own, "test", "item_events"))
    )
    assert found > popular
