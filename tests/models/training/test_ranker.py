"""Trees that learn from the candidates of windows: from a prepared shop to an order, and when none is learnt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.retrieval.choose_fusion import fuse
from models.retrieval.fusion import Fusion, read_fusion, write_fusion
from models.retrieval.ranker.features import list_features, list_names
from models.retrieval.retriever import ordered


def _lists(seed: int, anchors: int = 300, width: int = 20) -> tuple[np.ndarray, ...]:
    """Return scores that know nothing, trees that know what is true, truth, counts and shoppers."""
    rng = np.random.default_rng(seed)
    relevant = np.zeros((anchors, width), bool)
    relevant[np.arange(anchors), rng.integers(0, width, anchors)] = True
    dot, logit = rng.standard_normal((2, anchors, width)).astype(np.float32)
    listed = (rng.standard_normal((anchors, width)) + 2 * relevant).astype(np.float32)
    return dot, logit, relevant, np.ones(anchors, np.int64), np.arange(anchors), listed


def test_trees_that_know_more_are_used_and_a_dlrm_that_knows_nothing_is_not() -> None:
    dot, logit, relevant, count, users, listed = _lists(1)
    fusion = fuse(dot, logit, relevant, count, users, 1, listed)
    assert (fusion.lists, fusion.ranks) == (True, False)
    assert fusion.validation is not None
    assert fusion.validation.low > 0
    assert ordered("als", dlrm=fusion.ranks, trees=fusion.lists) == "als+lambdarank"


def test_trees_that_know_nothing_are_not_used() -> None:
    dot, logit, relevant, count, users, _ = _lists(2)
    knowing = (dot + 2 * relevant).astype(np.float32)
    noise = np.random.default_rng(5).standard_normal(dot.shape).astype(np.float32)
    fusion = fuse(knowing, logit, relevant, count, users, 1, noise)
    assert not fusion.used
    assert fusion == fuse(knowing, logit, relevant, count, users, 1, noise), "one seed, one choice"


def test_trees_and_dlrm_that_know_different_things_are_used_together() -> None:
    dot, _, relevant, count, users, listed = _lists(3)
    logit = (np.random.default_rng(6).standard_normal(dot.shape) + 2 * relevant).astype(np.float32)
    fusion = fuse(dot, logit, relevant, count, users, 1, listed)
    assert (fusion.lists, fusion.ranks) == (True, True)


def test_scores_add_up_and_places_without_a_candidate_stay_last(tmp_path: Path) -> None:
    dot, logit = np.array([[2.0, 0.0]]), np.array([[0.5, -np.inf]])
    listed = np.array([[4.0, -np.inf]])
    np.testing.assert_array_equal(Fusion(3.0, 1.0, list_weight=0.25).scores(dot, logit, listed), [[7.5, -np.inf]])
    np.testing.assert_array_equal(Fusion(1.0, 0.0, list_weight=0.25).scores(dot, logit, listed), [[3.0, -np.inf]])
    write_fusion(tmp_path, Fusion(1.0, 0.0, list_weight=0.25))
    assert read_fusion(tmp_path) == Fusion(1.0, 0.0, list_weight=0.25)


def test_a_number_stands_in_spreads_of_its_list_and_a_table_as_a_share_of_the_best() -> None:
    real = np.array([[True, True, True, False]])
    given = {"ease_at_0.8": np.array([[2.0, 0.0, 4.0, 0.0]], np.float32), "ease_at_0.3": np.zeros((1, 4), np.float32)}
    found = list_features(real, given, {"price": np.array([[1.0, 2.0, 3.0, 99.0]], np.float32)})
    assert tuple(found) == list_names(["ease"], ["price"])
    np.testing.assert_allclose(found["ease_at_0.8"], [[0.5, 0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(found["ease_at_0.3"], 0.0)
    np.testing.assert_array_equal(found["tables_that_name_it"], [[1, 0, 1, 0]])
    np.testing.assert_allclose(found["price_in_spreads"], [[-(1.5**0.5), 0.0, 1.5**0.5, 0.0]], rtol=2e-2)


@pytest.mark.parametrize(
    ("trees", "blend", "why"),
    [(0, True, "ranker.trees is 0"), (5, False, "no table of neighbours counts")],
)
def test_where_there_is_nothing_to_learn_from_no_ranker_is_left_and_it_is_said_why(
    tmp_path: Path, trees: int, blend: bool, why: str
) -> None:
    from models.retrieval.ranker.fit_ranker import fit_ranker
    from models.retrieval.ranker.ranker import has_ranker
    from models.retrieval.ranker.settings import RankerSettings

    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/report.json").write_text(json.dumps({"windows": {"window_1": "2024-01-01T00:00:00+00:00"}}))
    stale = tmp_path / "models/ranker"
    stale.mkdir(parents=True)
    (stale / "model.onnx").write_text("of an earlier training")
    assert blend or not (tmp_path / "models/item_to_item").exists()
    assert why in fit_ranker(tmp_path, RankerSettings(trees=trees), 20, 10, 1)
    assert not has_ranker(tmp_path)
    assert why in json.loads((stale / "config.json").read_text())["why"]
    shutil.rmtree(stale)
