"""What the positive is told from: items drawn uniformly, and how often each negative turns up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.families.two_tower import negatives
from models.families.two_tower.model import TwoTowerLearner, build_two_tower
from models.families.two_tower.negatives import HardRows, UniformRows
from models.families.two_tower.settings import TwoTowerSettings
from models.training.tables import FIRST_ID, OOV_ID, Table

SIZES = {"user_id": 5, "item_id": 7, "item_category": 5, "item_brand": 5, "hour": 27, "weekday": 10}
SIZES |= {"recent_items": 7, "recent_categories": 5, "recent_brands": 5}
TARGETS = np.array([3, OOV_ID, 4, 3, 3, 5, 4], np.int32)


def test_items_are_drawn_once_each_with_columns_of_their_own() -> None:
    uniform, rng = UniformRows(TARGETS), np.random.default_rng(0)
    assert uniform.items == 3
    drawn = np.array([uniform.draw(2, rng) for _ in range(3_000)])
    ids = TARGETS[drawn]
    assert (ids[:, 0] != ids[:, 1]).all()
    shares = np.bincount(ids.ravel(), minlength=6)[FIRST_ID:] / ids.size
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)  # not by how often they are targets
    rows = np.bincount(drawn.ravel(), minlength=len(TARGETS)) / ids.size
    np.testing.assert_allclose(rows, [1 / 9, 0, 1 / 6, 1 / 9, 1 / 9, 1 / 3, 1 / 6], atol=0.02)
    assert sorted(TARGETS[uniform.draw(100, rng)]) == [3, 4, 5]


def test_nothing_is_drawn_where_nothing_is_asked_for_or_there() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert UniformRows(TARGETS).draw(0, rng).tolist() == []
    assert rng.bit_generator.state == before  # a training without such negatives is as it was before there were any
    assert UniformRows(np.full(4, OOV_ID, np.int32)).draw(5, rng).tolist() == []


@pytest.mark.parametrize("uniform", [0, 2])
def test_logits_are_corrected_by_how_often_each_negative_turns_up(uniform: int) -> None:
    """Two targets of a batch, 3 and 4, and two of the three items that can be drawn: 5, and 3 once more."""
    shares = np.array([0, 0, 0.1, 0.5, 0.3, 0.1, 0], np.float32)  # id 2 is not one item's, id 6 is no target: neither is drawn
    settings = TwoTowerSettings(uniform_negatives=uniform, temperature=0.5, dimension=2, embedding_dimension=4, hidden=(4,))
    tower = build_two_tower(settings, SIZES, 1, shares)
    learner = TwoTowerLearner(tower, Table(Path(), {"item_id": TARGETS}), None, None)
    query = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
    item = np.array([[0.0, 1.0], [1.0, 0.0], [0.8, 0.6], [0.1, 0.9]], np.float32)[: 2 + uniform]
    ids = np.array([[3], [4], [5], [3]], np.int32)[: 2 + uniform]
    found = learner.logits(query, item, ids).numpy()
    chance = shares if not uniform else (2 * shares + 2 * np.array([0, 0, 0, 1, 1, 1, 0]) / 3) / 4
    logits = query @ item.T / 0.5 - np.log(chance[ids[:, 0]])
    np.testing.assert_allclose(found[:, 0], np.diag(logits), rtol=1e-5)
    same = ids[:2] == ids[:, 0]
    np.testing.assert_allclose(found[:, 1:][~same], logits[~same], rtol=1e-5)
    assert same.sum() == 2 + uniform // 2
    assert (np.exp(found[:, 1:][same]) == 0).all()  # the positive is no negative, wherever it comes from


def line(items: int, seed: int = 0) -> tuple[np.ndarray, HardRows]:
    """Items that are alike as their numbers are near, and the rows of two examples of each, shuffled."""
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(FIRST_ID, FIRST_ID + items), 2)).astype(np.int32)
    hard = HardRows(UniformRows(targets))
    angle = (targets - FIRST_ID) / items
    hard.mine(lambda rows: np.stack([np.cos(angle[rows]), np.sin(angle[rows])], axis=1), np.random.default_rng(seed))
    return targets, hard


def test_hard_negatives_are_near_the_positives_but_not_the_nearest() -> None:
    targets, hard = line(1_000)
    batch = np.array([FIRST_ID + 500] * 64, np.int32)
    drawn = targets[hard.draw(batch, 64, np.random.default_rng(1))].astype(int)
    apart = np.abs(drawn - (FIRST_ID + 500))
    first, last = negatives.NEAREST
    assert apart.min() >= first // 2  # of ten places the nearest five on each side, itself included
    assert apart.max() <= last // 2
    assert len(set(drawn)) > 20


def test_items_out_of_the_pool_have_no_like_and_no_more_are_drawn_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "POOL", 300)
    targets, hard = line(1_000)
    rng = np.random.default_rng(2)
    assert len(hard.draw(targets, 40, rng)) == 40
    assert 500 <= len(hard.draw(targets, 10_000, rng)) <= 600
    assert not len(hard.draw(np.array([OOV_ID], np.int32), 4, rng))


@pytest.mark.parametrize("items", [0, 1, 2, 5, 11])
def test_a_small_shop_has_hard_negatives_too(items: int) -> None:
    targets, hard = line(items)
    drawn = hard.draw(targets, 100, np.random.default_rng(3))
    assert set(targets[drawn]) <= set(targets)
    assert bool(items) == bool(len(drawn))
