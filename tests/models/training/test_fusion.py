from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cartwheel.errors import DataError, RunError
from models.fusion import best_fusion_weight, default_fusion_weight, mean_ndcg, read_fusion, write_fusion
from models.settings import TwoTowerSettings


def _scores(seed: int, *, dot_knows: bool, logit_knows: bool) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    relevant = rng.random((200, 40)) < 0.05
    noise = rng.normal(size=(2, 200, 40))
    dot = 0.1 * (noise[0] + 2 * relevant * dot_knows)
    logit = 5 * (noise[1] + 2 * relevant * logit_knows)
    return dot, logit, relevant, relevant.sum(axis=1)


def test_the_better_score_gets_the_weight() -> None:
    good_dot = best_fusion_weight(*_scores(0, dot_knows=True, logit_knows=False))
    good_logit = best_fusion_weight(*_scores(0, dot_knows=False, logit_knows=True))
    assert good_dot > 100 > 5 > good_logit


def test_two_good_scores_together_beat_each_alone() -> None:
    dot, logit, relevant, count = _scores(1, dot_knows=True, logit_knows=True)
    some = count > 0
    fused = mean_ndcg((logit + best_fusion_weight(dot, logit, relevant, count) * dot)[some], relevant[some], count[some])
    assert fused > mean_ndcg(logit[some], relevant[some], count[some]) + 0.05
    assert fused > mean_ndcg(dot[some], relevant[some], count[some]) + 0.05


def test_ndcg_by_hand() -> None:
    scores = np.array([[3.0, 2.0, 1.0]])
    expected = (1 / np.log2(3)) / (1 + 1 / np.log2(3))
    assert mean_ndcg(scores, np.array([[False, True, False]]), np.array([2])) == pytest.approx(expected)


def test_places_without_a_candidate_never_count() -> None:
    dot, logit, relevant, count = _scores(2, dot_knows=True, logit_knows=True)
    padded = [
        np.pad(values, ((0, 0), (0, 5)), constant_values=fill)
        for values, fill in ((dot, 9.0), (logit, -np.inf), (relevant, True))
    ]
    assert best_fusion_weight(*padded, count) == pytest.approx(best_fusion_weight(dot, logit, relevant, count))


def test_nothing_to_tune_on_gives_the_default() -> None:
    assert (
        best_fusion_weight(np.ones((2, 3)), np.ones((2, 3)), np.zeros((2, 3), bool), np.array([1, 0])) == default_fusion_weight()
    )


def test_constant_scores_give_a_finite_weight() -> None:
    relevant = np.array([[True, False]])
    assert np.isfinite(best_fusion_weight(np.ones((1, 2)), np.zeros((1, 2)), relevant, np.array([1])))
    assert best_fusion_weight(np.array([[1.0, 0.0]]), np.zeros((1, 2)), ~relevant, np.array([1])) >= 0


def test_bad_scores_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[A, C\]"):
        best_fusion_weight(np.ones((2, 3)), np.ones((2, 4)), np.ones((2, 3), bool), np.ones(2))
    with pytest.raises(DataError, match="NaN"):
        best_fusion_weight(np.ones((1, 1)), np.full((1, 1), np.nan), np.ones((1, 1), bool), np.ones(1))


def test_fusion_file(tmp_path: Path) -> None:
    write_fusion(tmp_path, 2.5)
    assert read_fusion(tmp_path) == 2.5
    (tmp_path / "fusion.json").write_text('{"retrieval_weight": "nan"}')
    with pytest.raises(RunError, match="finite"):
        read_fusion(tmp_path)
    with pytest.raises(RunError, match=r"fusion\.json"):
        read_fusion(tmp_path / "nowhere")


def test_the_weight_until_one_is_tuned_suits_the_scale_of_the_model() -> None:
    settings = TwoTowerSettings(temperature=0.5)
    assert [default_fusion_weight(settings, model) for model in ("two_tower", "als", "bpr")] == [2.0, 10.0, 1.0]
