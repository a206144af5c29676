"""The estimators: laws that hold on any log, and what they refuse."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import DataError, UsageError
from evaluation.off_policy.estimators import (
    ESTIMATORS,
    Logged,
    design_effect,
    doubly_robust,
    effective_sample_size,
    ips,
    snips,
)
from evaluation.off_policy.preview import preview, rows_needed
from evaluation.off_policy.rewards import cross_fitted, of_choices, of_policy


def log(seed: int, rows: int = 400, **more: Any) -> Logged:
    """Two choices, the first made in a share of the rows; the target makes the other one more often."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.2, 0.8, rows)
    first = rng.random(rows) < chance
    made = np.where(first, chance, 1 - chance)
    rewards = rng.normal(np.where(first, 1.0, 2.0), 0.5)
    return Logged(rewards, made, np.where(first, 0.25, 0.75), np.arange(rows) // 4, **more)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_where_the_target_is_what_was_logged_all_are_the_mean(seed: int) -> None:
    made = log(seed)
    same = replace(
        made, target=made.propensities, predicted=np.zeros(len(made.rewards)), predicted_target=np.zeros(len(made.rewards))
    )
    for estimator in ESTIMATORS.values():
        assert estimator(same).value == pytest.approx(made.rewards.mean())
    assert effective_sample_size(same.weights) == pytest.approx(len(made.rewards))


@given(st.integers(0, 10_000), st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_a_constant_added_to_rewards_moves_snips_by_as_much(seed: int, more: float) -> None:
    made = log(seed)
    moved = snips(replace(made, rewards=made.rewards + more))
    assert (moved.value, moved.standard_error) == pytest.approx((snips(made).value + more, snips(made).standard_error), abs=1e-9)


def test_estimates_are_near_the_truth_and_a_good_model_narrows_them() -> None:
    truth = 0.25 * 1.0 + 0.75 * 2.0
    made = log(3, 20_000)
    first = made.target == 0.25
    modelled = replace(made, predicted=np.where(first, 1.0, 2.0), predicted_target=np.full(len(first), truth))
    for estimator in (ips, snips, doubly_robust):
        found = estimator(modelled)
        assert abs(found.value - truth) < 4 * found.standard_error
        assert found.low < found.value < found.high
    assert doubly_robust(modelled).standard_error < 0.5 * ips(modelled).standard_error


def test_rows_that_are_copies_of_one_another_count_once() -> None:
    made = log(4)
    alone = replace(made, shoppers=np.arange(len(made.rewards)))
    copied = Logged(*(np.repeat(each, 5) for each in (alone.rewards, alone.propensities, alone.target, alone.shoppers)))
    assert design_effect(alone) == pytest.approx(1.0)
    assert design_effect(copied) == pytest.approx(5.0, rel=0.02)
    assert ips(copied).standard_error == pytest.approx(ips(alone).standard_error)


def test_nothing_gained_is_no_certainty() -> None:
    made = replace(log(5), rewards=np.zeros(400))
    assert np.isnan([ips(made).low, ips(made).high]).all()
    assert rows_needed(made.rewards) == np.inf
    assert preview(made, made).verdict == "refused"


def test_a_model_has_not_seen_the_shopper_that_it_is_asked_about() -> None:
    rewards, shoppers = np.zeros(50), np.arange(50)
    rewards[7] = 1.0
    nothing = np.zeros(50, np.int64)
    logged, asked = cross_fitted(nothing, nothing, rewards, shoppers, of_choices(nothing - 1, nothing))
    others = cross_fitted(nothing, nothing, np.where(shoppers == 7, 0.0, rewards), shoppers, of_choices(nothing, nothing))[0]
    assert logged[7] == others[7] == 0.0
    assert asked[7] == 0.0
    assert logged.max() > 0


def test_a_policy_that_chooses_at_random_is_worth_its_mean() -> None:
    rng = np.random.default_rng(0)
    choices, places, shoppers = rng.integers(0, 3, 300), rng.integers(0, 2, 300), np.arange(300)
    rewards = rng.random(300)
    probabilities = np.array([[0.5, 0.0], [0.5, 0.25], [0.0, 0.75]])
    mixed = cross_fitted(choices, places, rewards, shoppers, of_policy(probabilities, places))[1]
    single = [cross_fitted(choices, places, rewards, shoppers, of_choices(np.full(300, each), places))[1] for each in range(3)]
    assert mixed == pytest.approx(np.einsum("cn,cn->n", probabilities[:, places], np.array(single)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propensities": np.array([0.5, 0.0, 0.5])}, r"propensities holds 0 in row 1. Give probabilities above 0"),
        ({"target": np.array([0.5, 1.5, 0.5])}, "target holds 1.5 in row 1"),
        ({"rewards": np.array([0.5, np.nan, 0.5])}, "rewards holds nan in row 1"),
        ({"target": np.array([0.5])}, "3 rewards and 1 target"),
        ({"shoppers": np.arange(2)}, "3 rewards and 2 shoppers"),
    ],
)
def test_logs_that_are_wrong_are_refused(change: dict[str, Any], message: str) -> None:
    good = {"rewards": np.ones(3), "propensities": np.full(3, 0.5), "target": np.full(3, 0.5), "shoppers": np.arange(3)}
    with pytest.raises(DataError, match=message):
        Logged(**{**good, **change})


def test_a_preview_of_two_logs_or_for_no_effect_is_refused() -> None:
    with pytest.raises(DataError, match="different rewards"):
        preview(log(1), log(2))
    with pytest.raises(UsageError, match="least effect is 0"):
        preview(log(1), log(1), least_effect=0)
    with pytest.raises(DataError, match="no model of the reward"):
        doubly_robust(log(1))


def test_a_preview_decides_where_the_log_suffices() -> None:
    made = log(6, 20_000)
    other = replace(made, target=1.0 - made.target)
    assert preview(other, made).verdict == "better"
    assert preview(made, other).verdict == "worse"
    assert preview(made, made).verdict == "level"
    assert preview(other, made, needed=1e9).verdict == "refused"
