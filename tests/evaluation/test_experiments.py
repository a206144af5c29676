"""The sequential test: seldom an alarm where there is no difference however often it is looked at, and one where there is."""

import numpy as np
import pytest
from scipy.stats import chisquare

from cartwheel.core.errors import UsageError
from evaluation.experiments.sample_ratio import sample_ratio
from evaluation.experiments.sequential import LEAST, Arms, replay


def stopped(rng: np.random.Generator, rates: tuple[float, float], shoppers: int, every: int = 20) -> bool:
    arms = rng.integers(0, 2, shoppers)
    values = (rng.random(shoppers) < np.array(rates)[arms]).astype(np.float64)
    return any(look.is_decided for look in replay(arms, values, every, planned=shoppers))


@pytest.mark.parametrize("rate", [0.03, 0.3])
def test_a_a_alarms_at_most_5_percent(rate: float) -> None:
    rng = np.random.default_rng(5)
    assert np.mean([stopped(rng, (rate, rate), 4_000) for _ in range(200)]) <= 0.05


def test_a_difference_is_found_before_all_have_come() -> None:
    rng = np.random.default_rng(6)
    assert np.mean([stopped(rng, (0.10, 0.14), 6_000) for _ in range(40)]) >= 0.9


def test_the_p_value_and_the_interval_decide_alike() -> None:
    rng = np.random.default_rng(7)
    arms = rng.integers(0, 2, 5_000)
    values = rng.normal(arms * 0.12, 1.0)
    looks = replay(arms, values, 50)
    decided = [any(look.is_decided for look in looks[: place + 1]) for place in range(len(looks))]
    assert decided == [look.p_value <= 0.05 for look in looks]
    assert True in decided
    assert False in decided


def test_nothing_is_decided_on_few() -> None:
    state = Arms()
    for _ in range(LEAST - 1):
        state.add(0, 0.0)
        state.add(1, 1.0)
    assert not state.look().is_decided
    assert state.look().difference == 1.0


@pytest.mark.parametrize(("planned", "level"), [(0, 0.05), (10, 0.0), (10, 1.0)])
def test_a_plan_that_is_none_is_refused(planned: int, level: float) -> None:
    with pytest.raises(UsageError, match="The plan is"):
        Arms(planned, level)


def test_the_sample_ratio_is_pearsons_test() -> None:
    found = sample_ratio({"a": 480, "b": 300, "c": 220}, {"a": 5, "b": 3, "c": 2})
    wanted = chisquare([480, 300, 220], [500, 300, 200])
    assert (found.statistic, found.p_value) == pytest.approx((wanted.statistic, wanted.pvalue))
    assert not sample_ratio({"a": 100}, {"a": 1, "b": 1}).is_sound


@pytest.mark.parametrize(
    ("counts", "shares", "message"),
    [
        ({"a": 1, "c": 2}, {"a": 1, "b": 1}, "The arm 'c' has counts but no share."),
        ({"a": 1}, {"a": 1}, "Give at least two arms"),
        ({}, {"a": 1, "b": 1}, "No shopper is counted"),
    ],
)
def test_counts_that_cannot_be_tested_are_refused(counts: dict[str, int], shares: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sample_ratio(counts, shares)
