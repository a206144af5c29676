from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cartwheel.core.errors import DataError, RunError
from models.families.two_tower.settings import TwoTowerSettings
from models.retrieval.choose_fusion import (
    RATIOS,
    best_fusion_weight,
    default_fusion_weight,
    fuse,
    mean_ndcg,
    ndcg_of,
    tuned_weight,
)
from models.retrieval.fusion import Fusion, Gain, read_fusion, write_fusion


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


def test_scores_that_tell_nothing_get_no_weight_and_a_constant_logit_leaves_it_to_the_others() -> None:
    relevant, zeros, one = np.array([[True, False]]), np.zeros((1, 2)), np.array([1])
    assert best_fusion_weight(np.ones((1, 2)), zeros, relevant, one) == 0.0, "equal scores keep the order"
    assert best_fusion_weight(np.array([[1.0, 0.0]]), zeros, ~relevant, one) == 0.0, "misleading scores"
    found = best_fusion_weight(np.array([[0.0, 4.0]]), zeros, ~relevant, one)
    assert found == pytest.approx(min(ratio for ratio in RATIOS if ratio > 0) / 2.0), "in units of the spread, which is 2"


def test_bad_scores_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[A, C\]"):
        best_fusion_weight(np.ones((2, 3)), np.ones((2, 4)), np.ones((2, 3), bool), np.ones(2))
    with pytest.raises(DataError, match="NaN"):
        best_fusion_weight(np.ones((1, 1)), np.full((1, 1), np.nan), np.ones((1, 1), bool), np.ones(1))


def test_fusion_file(tmp_path: Path) -> None:
    for fusion in (Fusion(2.5), Fusion(1.0, 0.0, Gain(-0.25, -0.5, -0.125, 12)), Fusion(0.0, 1.0, Gain(0.5, None, None, 1))):
        write_fusion(tmp_path, fusion)
        assert read_fusion(tmp_path) == fusion
    (tmp_path / "fusion.json").write_text('{"retrieval_weight": 0.5}')
    assert read_fusion(tmp_path) == Fusion(0.5), "as an earlier release wrote it"
    for text in ('{"retrieval_weight": "nan"}', '{"retrieval_weight": 1, "ranking_weight": 2}'):
        (tmp_path / "fusion.json").write_text(text)
        with pytest.raises(RunError, match="finite"):
            read_fusion(tmp_path)
    for text in ("[]", "{}", '{"retrieval_weight": 1, "validation": {"value": 1}}', '{"retrieval_weight": 1, "validation": 3}'):
        (tmp_path / "fusion.json").write_text(text)
        with pytest.raises(RunError, match=r"fusion\.json cannot be read"):
            read_fusion(tmp_path)
    with pytest.raises(RunError, match=r"fusion\.json"):
        read_fusion(tmp_path / "nowhere")


def test_the_weight_until_one_is_tuned_suits_the_scale_of_the_model() -> None:
    settings = TwoTowerSettings(temperature=0.5)
    assert [default_fusion_weight(settings, model) for model in ("two_tower", "als", "bpr")] == [2.0, 10.0, 1.0]


def test_the_weight_is_the_best_of_those_tried_and_of_equal_ones_the_smallest() -> None:
    dot, logit, relevant, count = _scores(3, dot_knows=True, logit_knows=True)
    asked = count > 0
    unit = float(np.std(logit[asked & relevant.any(axis=1)]) / np.std(dot[asked & relevant.any(axis=1)]))
    values = [mean_ndcg((logit + ratio * unit * dot)[asked], relevant[asked], count[asked]) for ratio in RATIOS]
    weight, value = tuned_weight(dot, logit, relevant, count)
    assert weight == pytest.approx(RATIOS[int(np.argmax(values))] * unit)
    assert 0 < RATIOS.index(min(RATIOS, key=lambda ratio: abs(ratio * unit - weight))) < len(RATIOS) - 1
    assert value == pytest.approx(max(values))
    alike = tuned_weight(logit, logit, relevant, count)
    assert alike[0] == 0.0, "every weight orders alike"


def test_the_ndcg_told_is_over_all_that_have_something_to_find() -> None:
    """Two anchors with a true item among the candidates, one whose true items are elsewhere, one without any."""
    logit = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    relevant = np.array([[True, False], [True, False], [False, False], [False, False]])
    _, value = tuned_weight(np.zeros((4, 2)), logit, relevant, np.array([1, 1, 3, 0]))
    assert value == pytest.approx(2 / 3)


def test_ndcg_of_each_list_by_hand() -> None:
    """Two true items at places 2 and 3 of three that are true; a tie that goes to the earlier place; nothing within the cut-off."""
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 0.0], [3.0, 2.0, 1.0]])
    relevant = np.array([[False, True, True], [False, True, False], [False, False, True]])
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    expected = [(second + third) / (1 + second + third), second, third]
    np.testing.assert_allclose(ndcg_of(scores, relevant, np.array([3, 1, 1])), expected)
    np.testing.assert_allclose(ndcg_of(scores, relevant, np.array([3, 1, 1]), 2), [second / (1 + second), second, 0.0])


def test_the_scales_of_the_scores_do_not_matter() -> None:
    dot, logit, relevant, count = _scores(4, dot_knows=True, logit_knows=True)
    weight = best_fusion_weight(dot, logit, relevant, count)
    assert best_fusion_weight(1000 * dot, logit, relevant, count) == pytest.approx(weight / 1000)
    assert best_fusion_weight(dot, 7 * logit + 3, relevant, count) == pytest.approx(7 * weight)


def test_final_scores_are_the_weighted_sum_and_places_without_a_candidate_stay_last() -> None:
    dot, logit = np.array([[2.0, -1.0, 0.0]], np.float32), np.array([[0.5, 4.0, -np.inf]], np.float32)
    np.testing.assert_array_equal(Fusion(3.0).scores(dot, logit), [[6.5, 1.0, -np.inf]])
    np.testing.assert_array_equal(Fusion(3.0, 0.0).scores(dot, logit), [[6.0, -3.0, -np.inf]])
    listed = np.array([[1.0, -4.0, 9.0]])
    np.testing.assert_array_equal(Fusion(3.0, list_weight=0.5).scores(dot, logit, listed), [[7.0, -1.0, -np.inf]])
    np.testing.assert_array_equal(Fusion(3.0, 0.0, list_weight=0.5).scores(dot, logit, listed), [[6.5, -5.0, -np.inf]])


@pytest.mark.parametrize(("dot_knows", "logit_knows", "ranks"), [(False, True, True), (True, True, True), (True, False, False)])
def test_the_second_stage_is_used_where_it_is_better_than_the_first(dot_knows: bool, logit_knows: bool, ranks: bool) -> None:
    """A ranking score that knows nothing, of a few wild values that no weight tames, can only disturb."""
    dot, logit, relevant, count = _scores(5, dot_knows=dot_knows, logit_knows=logit_knows)
    if not logit_knows:
        logit = np.random.default_rng(0).standard_cauchy(logit.shape) ** 3
    users = np.arange(200) // 3
    fusion = fuse(dot, logit, relevant, count, users, 0)
    assert fusion.ranks == ranks
    assert fusion.validation is not None
    assert (fusion.validation.value >= 0) == ranks
    assert fusion.validation.shoppers == len(np.unique(users[count > 0]))
    assert fusion.validation.low < fusion.validation.value < fusion.validation.high
    assert fusion.retrieval_weight == (best_fusion_weight(dot, logit, relevant, count) if ranks else 1.0)
    if not ranks:
        told = fusion.validation
        assert fusion.sentence == (
            f"is served by itself: on validation the second stage changed NDCG@10 by {told.value:+.4f} "
            f"(95% interval {told.low:+.4f} to {told.high:+.4f}, {told.shoppers} shoppers), "
            "no more than a standard error, so it is not used"
        )


def test_what_the_second_stage_changes_is_judged_on_shoppers_whom_the_weight_was_not_chosen_by() -> None:
    """One half is served by the logit alone and the other by the dot product alone, so each half chooses what fails the other."""
    half = np.random.default_rng(0).permutation(40)[np.repeat(np.arange(40), 5)] % 2
    rng = np.random.default_rng(1)
    relevant = np.zeros((200, 40), bool)
    relevant[np.arange(200), rng.integers(0, 40, 200)] = True
    noise = rng.normal(size=(2, 200, 40))
    logit, dot = noise[0] + 4 * relevant * (half == 0)[:, None], noise[1] + 4 * relevant * (half == 1)[:, None]
    users, count = np.repeat(np.arange(40), 5), np.ones(200, int)
    fusion = fuse(dot, logit, relevant, count, users, 0)
    assert fusion.validation is not None
    weights = [
        best_fusion_weight(dot[half == own], logit[half == own], relevant[half == own], count[half == own]) for own in (0, 1)
    ]
    alone = ndcg_of(dot, relevant, count)
    fused = np.where(
        half == 0, ndcg_of(logit + weights[1] * dot, relevant, count), ndcg_of(logit + weights[0] * dot, relevant, count)
    )
    assert weights[1] > 5 * weights[0]
    assert fusion.validation.value == pytest.approx((fused - alone).mean())
    best = best_fusion_weight(dot, logit, relevant, count)
    assert fusion.validation.value < (ndcg_of(logit + best * dot, relevant, count) - alone).mean() - 0.05


def test_a_lone_shopper_is_judged_by_what_it_chose() -> None:
    dot, logit, relevant, count = _scores(6, dot_knows=False, logit_knows=True)
    fusion = fuse(dot, logit, relevant, count, np.zeros(200, int), 0)
    assert fusion.ranks
    assert fusion.validation is not None
    assert fusion.validation.low is None
    assert Fusion(1.0, 0.0, Gain(-0.5, None, None, 1)).sentence.endswith(
        "by -0.5000 (no interval, 1 shoppers), no more than a standard error, so it is not used"
    )
