"""Intervals resample users, cover what they should, and say why where there is none."""

import numpy as np
import pytest

from models.metrics.intervals import UserBootstrap, coverage_interval, more_than_an_error
from models.metrics.ranking import coverage


def test_one_seed_gives_one_interval() -> None:
    values = np.random.default_rng(0).random((30, 2))
    users = np.arange(30) // 3
    same = [UserBootstrap(users, 100, 7).means(values) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], UserBootstrap(users, 100, 8).means(values))


def test_sums_and_weights_tell_of_the_same_resamples() -> None:
    bootstrap = UserBootstrap(np.array(["b", "a", "b", "c"]), 100, 1)
    values = np.array([[1.0], [10.0], [100.0], [1000.0]])
    np.testing.assert_allclose(bootstrap.sums(values)[:, 0], bootstrap.draws(lambda weight: [weight @ values[:, 0]])[:, 0])
    assert bootstrap.users == 3


def test_rows_of_one_user_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(0).random((40, 1)), 10, axis=0)
    clustered, rows = UserBootstrap(np.arange(400) // 10, 300, 0), UserBootstrap(np.arange(400), 300, 0)
    assert clustered.means(values).std() > 2 * rows.means(values).std()


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(size=(60, 1))
        bootstrap = UserBootstrap(np.arange(60), 200, seed)
        interval = bootstrap.percentile(bootstrap.means(values)[:, 0])
        held += interval.low <= 0.0 <= interval.high
    assert 0.88 <= held / 200 <= 0.99


def test_one_user_or_one_class_has_no_interval_but_a_reason() -> None:
    lonely = UserBootstrap(np.zeros(5, int), 100, 0)
    assert "one user" in lonely.percentile(np.ones(100)).reason
    assert lonely.basic(1.0, np.ones(100)).low is None
    few = UserBootstrap(np.arange(5), 100, 0)
    assert "only 0% of the resamples define the figure" in few.percentile(np.full(100, np.nan)).reason


def test_the_interval_of_coverage_is_the_jackknife_over_users() -> None:
    generator = np.random.default_rng(3)
    top, users, items = generator.integers(0, 30, size=(12, 3)), np.arange(12) // 2, 60
    value = coverage(top, items, 3)
    left_out = np.array([coverage(top[users != user], items, 3) for user in range(6)])
    spread = np.sqrt(5 / 6 * np.sum((left_out - left_out.mean()) ** 2))
    interval = coverage_interval(top, users, items, 3, value)
    assert interval.high == pytest.approx(value + 1.959963984540054 * spread)
    assert coverage_interval(top, np.zeros(12, int), items, 3, value).reason is not None


def test_one_standard_error_is_counted_over_shoppers() -> None:
    ahead = np.array([1.0, 1.0, 1.0, 1.0, -1.0, -1.0, 0.0, 0.0])  # mean 1/4, standard error of single questions sqrt(5.5) / 8
    assert not more_than_an_error(ahead, np.arange(8))
    assert more_than_an_error(ahead + 0.1, np.arange(8))
    assert not more_than_an_error(ahead + 0.1, np.array([0, 0, 0, 0, 1, 1, 2, 2])), (
        "a shopper's questions are one piece of evidence"
    )
    assert not more_than_an_error(-ahead, np.arange(8))
