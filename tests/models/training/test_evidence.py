"""How far a calibration goes from the base rate: as far as held-out shoppers bear out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from models.metrics.classification import log_loss
from models.training.calibration import fit_logistic, sigmoid, smoothed
from models.training.evidence import LUCK, GroupedRows, base_rate, fit_groups, standard_errors
from models.training.tables import Array

GROUPS = ("a", "b")


def drawn(slope: float, users: int, each: int = 4, *, seed: int = 0, group: str = "a", taste: float = 0.0) -> GroupedRows:
    """Rows whose chance is sigmoid(slope * x - 0.5), up to what each user buys more or less than others."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), each)
    feature = rng.normal(0, 1.5, (users * each, 1)) + taste * rng.normal(size=users)[user][:, None]
    own = taste * rng.normal(size=users)[user]
    label = (rng.random(len(user)) < sigmoid(slope * feature[:, 0] - 0.5 + own)).astype(int)
    names = np.array([f"{group}{number}" for number in user], dtype=object)
    nowhere = np.full(len(user), np.inf)
    return GroupedRows(feature, label, names, np.full(len(user), group, dtype=object), -nowhere, nowhere)


def joined(*parts: GroupedRows) -> GroupedRows:
    names = GroupedRows.__dataclass_fields__
    return GroupedRows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def plain(rows: GroupedRows) -> Array:
    return fit_logistic(rows.features, smoothed(rows.label))[0]


def test_the_more_shoppers_bear_a_slope_out_the_nearer_it_comes() -> None:
    shares = []
    for users in (20, 100, 500, 4_000):
        parts = [drawn(0.7, users, seed=seed) for seed in range(10)]
        shares.append(np.mean([fit_groups(rows, ())[0].weights[0] / plain(rows)[0] for rows in parts]))
    assert shares == sorted(shares)
    assert shares[0] < 0.7
    assert shares[-1] > 0.94


def test_rows_of_one_shopper_are_one_piece_of_evidence() -> None:
    """Every row ten times over tells nothing new."""
    rows = drawn(0.5, 60, seed=4)
    once, often = (fit_groups(rows.at(np.tile(np.arange(len(rows.label)), times)), ())[0] for times in (1, 10))
    assert 0 < once.weights[0] < 0.9 * plain(rows)[0]
    assert often.weights[0] == pytest.approx(once.weights[0], abs=0.06)


def test_what_few_shoppers_show_by_luck_costs_less_than_the_fit_and_hardly_more_than_the_base_rate() -> None:
    """Sixteen shoppers with tastes of their own, and a feature that knows shoppers but nothing of what they buy."""
    cost_of_fit, cost = [], []
    for seed in range(40):
        rows, new = (drawn(0.0, users, 40, seed=seed + users, taste=2.0) for users in (16, 400))
        found, weights = fit_groups(rows, ())[0], plain(rows)
        fit = sigmoid(new.features @ weights + fit_logistic(rows.features, smoothed(rows.label))[1])
        base = log_loss(new.label, sigmoid(base_rate(rows).log_odds(new.features)))
        cost_of_fit.append(log_loss(new.label, fit) - base)
        cost.append(log_loss(new.label, sigmoid(found.log_odds(new.features))) - base)
    assert np.mean(cost_of_fit) > 0.005
    assert np.mean(cost) < 0.15 * np.mean(cost_of_fit)
    assert max(cost) < 0.5 * max(cost_of_fit)


def test_where_nothing_is_sure_the_known_share_is_answered_and_much_evidence_moves_it() -> None:
    few = drawn(0.0, 8, 10, seed=3, taste=1.0)
    assert abs(few.label.mean() - 0.6) > 0.05
    assert sigmoid(fit_groups(few, GROUPS, known={"a": 0.6})[1]["a"].log_odds(few.features)) == pytest.approx(0.6)
    assert sigmoid(fit_groups(few, GROUPS, known={"b": 0.6})[1]["b"].bias) == pytest.approx(0.6), "a group without rows"
    many = drawn(0.0, 3_000, seed=3)
    moved = fit_groups(many, GROUPS, known={"a": 0.6})[1]["a"]
    assert float(sigmoid(moved.log_odds(many.features)).mean()) == pytest.approx(many.label.mean(), abs=0.02)


def test_a_slope_that_is_borne_out_starts_at_the_known_share() -> None:
    """The many rows of one group bear a slope out; the few of the other take it, at the level that is known of them."""
    rows = joined(drawn(0.8, 600, seed=1), drawn(0.8, 8, 3, seed=2, group="b"))
    few = rows.at(rows.group == "b")
    found = fit_groups(rows, GROUPS, known={"a": 0.4, "b": 0.3})[1]["b"]
    assert found.weights[0] == pytest.approx(0.8, abs=0.15)
    assert float(sigmoid(found.log_odds(few.features)).mean()) == pytest.approx(0.3, abs=0.01)


def test_what_is_worth_knowing_is_not_lost() -> None:
    """Of the gain of a right slope that some hundred shoppers show, four fifths stay at least."""
    for seed in range(5):
        rows, new = drawn(0.8, 150, seed=seed), drawn(0.8, 4_000, seed=seed + 50)
        base, fit, found = (
            log_loss(new.label, sigmoid(new.features @ weights + bias))
            for weights, bias in (
                (np.zeros(1), base_rate(rows).bias),
                fit_logistic(rows.features, smoothed(rows.label)),
                (lambda one: (one.weights, one.bias))(fit_groups(rows, ())[0]),
            )
        )
        assert base - found > 0.8 * (base - fit) > 0.02


def test_a_group_of_few_shoppers_borrows_the_slope_of_the_others_and_keeps_its_own_base_rate() -> None:
    many, few = drawn(1.0, 800, seed=1), drawn(1.0, 12, seed=2, group="b")
    few = replace(few, label=np.where(np.arange(len(few.label)) % 2 == 0, 0, few.label))
    together, own = fit_groups(joined(many, few), GROUPS)
    assert own["b"].weights == pytest.approx(together.weights, rel=0.3)
    assert sigmoid(own["b"].log_odds(few.features)).mean() == pytest.approx(few.label.mean(), abs=0.05)
    assert abs(few.label.mean() - many.label.mean()) > 0.1


@pytest.mark.parametrize("slope", [-1.0, 0.2, 2.0])
def test_a_group_whose_shoppers_differ_goes_its_own_way(slope: float) -> None:
    rows = joined(drawn(1.0, 800, seed=1), drawn(slope, 800, seed=2, group="b"))
    own = fit_groups(rows, GROUPS)[1]
    assert own["b"].weights[0] == pytest.approx(slope, abs=0.3)
    assert own["a"].weights[0] == pytest.approx(1.0, abs=0.15)
    if slope < 0:
        assert fit_groups(rows, GROUPS, rising=True)[1]["b"].weights[0] == pytest.approx(0.0, abs=0.06)


def test_what_the_bounds_leave_no_room_for_is_no_evidence() -> None:
    rows = drawn(2.0, 200)
    tight = np.full(len(rows.label), -0.5)
    assert fit_groups(rows, ())[0].weights[0] > 1.5
    assert fit_groups(replace(rows, least=tight, most=tight), ())[0].weights[0] == 0


def test_one_shopper_proves_nothing() -> None:
    rows = replace(drawn(3.0, 40), user=np.full(160, "only", dtype=object))
    together, own = fit_groups(rows, GROUPS)
    assert (together.weights[0], together.bias) == (0.0, base_rate(rows).bias)
    assert own == {}


def test_a_group_with_too_few_rows_or_shoppers_has_none_of_its_own() -> None:
    others, few = drawn(1.0, 100), drawn(1.0, 4, group="b")
    assert list(fit_groups(joined(others, few), GROUPS)[1]) == ["a"]
    one = replace(drawn(1.0, 10, group="b"), user=np.full(40, "b0", dtype=object))
    assert list(fit_groups(joined(others, one), GROUPS)[1]) == ["a"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12), st.floats(-2, 2), st.floats(0, 3))
def test_all_groups_together_lie_between_their_base_rate_and_their_fit(
    seed: int, users: int, each: int, slope: float, taste: float
) -> None:
    rows = drawn(slope, users, each, seed=seed, taste=taste)
    for rising in (False, True):
        found = fit_groups(rows, GROUPS, rising=rising)[0]
        assert np.isfinite([*found.weights, found.bias]).all()
        if not 0 < rows.label.sum() < len(rows.label):
            assert found.weights[0] == 0
            continue
        share = found.weights[0] / plain(rows)[0]
        assert 0 <= share <= 1
        assert found.weights[0] >= 0 or not rising
        between = (1 - share) * base_rate(rows).bias + share * fit_logistic(rows.features, smoothed(rows.label))[1]
        assert found.bias == pytest.approx(between)


@pytest.mark.parametrize(
    ("rows_of_each", "tried", "errors"),
    [
        ([1] * 100_000, 1, 2.0),
        ([9] * 16, 1, student.isf(LUCK, 15)),
        ([9] * 16, 8, student.isf(LUCK / 8, 15)),
        ([30, 30, 30, *[1] * 50], 1, student.isf(LUCK, 140**2 / (3 * 900 + 50) - 1)),  # as sure as some seven equal shoppers
        ([40], 1, student.isf(LUCK, 1)),
    ],
)
def test_a_gain_must_be_the_surer_the_fewer_shoppers_have_the_rows_and_the_more_steps_are_tried(
    rows_of_each: list[int], tried: int, errors: float
) -> None:
    users = np.repeat(np.arange(len(rows_of_each)), rows_of_each)
    assert standard_errors(users, tried) == pytest.approx(errors, rel=1e-3)


def test_eight_groups_that_differ_by_luck_alone_are_led_astray_no_oftener_than_two() -> None:
    strayed = []
    for number in (2, 8):
        names, astray = [f"g{n}" for n in range(number)], 0
        for seed in range(8):
            parts = [drawn(0.8, 40, seed=100 * seed + n, group=name) for n, name in enumerate(names)]
            together, own = fit_groups(joined(*parts), names)
            astray += any(abs(own[name].weights[0] - together.weights[0]) > 0.15 for name in names)
        strayed.append(astray)
    assert strayed[1] <= strayed[0] + 1
