"""A calibration for each form of request and size of cart: planted slopes are found, what tells nothing falls back to the base rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import RunError
from models.metrics.classification import log_loss
from models.training.base_rates import BaseRates
from models.training.calibration import CartHead, Platt, head_features, sigmoid
from models.training.form_calibration import (
    AS_LOGGED,
    BySize,
    FormCalibration,
    RequestRows,
    fit_forms,
    fit_log,
    form_contents,
    form_log_odds,
    have_several,
    read_forms,
)
from workflows.features.columns import FORMS, ONE_LINE, SEVERAL_LINES, SIZES

LINES = 3


def drawn(
    form: str, slope: float, intercept: float, carts: int, seed: int = 0, users: int = 200, lines: int = LINES
) -> RequestRows:
    """Carts of some lines whose chance of a purchase is sigmoid(slope * logit + intercept)."""
    rng = np.random.default_rng(seed)
    rows = carts * lines
    logit = rng.normal(0, 2, rows)
    label = (rng.random(rows) < sigmoid(slope * logit + intercept)).astype(int)
    cart = np.repeat(np.arange(carts), lines)
    bought = np.repeat(label.reshape(-1, lines).max(axis=1), lines)
    names = np.array([f"{form} {lines} {number}" for number in cart], dtype=object)
    who = np.array([f"u{number % users}" for number in cart], dtype=object)
    return RequestRows(np.full(rows, form, dtype=object), names, who, logit, label, bought)


def joined(parts: list[RequestRows]) -> RequestRows:
    return RequestRows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in RequestRows.__dataclass_fields__}
    )


PLANTED = {FORMS[0]: (-1.0, -0.8), FORMS[1]: (0.5, -1.0), FORMS[2]: (1.0, 0.0), FORMS[3]: (2.0, 1.0)}
OTHERWISE = FormCalibration(Platt(3.0, 2.0), CartHead((1.0, 0.0, 0.0), 0.5))


@pytest.fixture(scope="module")
def forms() -> dict[str, BySize]:
    rows = joined([drawn(form, *planted, carts=4_000, seed=place) for place, (form, planted) in enumerate(PLANTED.items())])
    return fit_forms(rows, OTHERWISE)


@pytest.mark.parametrize("form", FORMS[1:])
def test_each_form_gets_its_own_slope(forms: dict[str, BySize], form: str) -> None:
    slope, intercept = PLANTED[form]
    found = forms[form][SEVERAL_LINES]
    assert found.lines.slope == pytest.approx(slope, abs=0.08)
    assert found.lines.intercept == pytest.approx(intercept, abs=0.08)
    assert any(found.cart.weights)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("alone", "together"), [((1.5, 1.0), (0.4, -1.0)), ((1.0, 0.0), (-1.0, -0.5)), ((-1.0, 0.5), (1.0, 0.0))]
)
def test_carts_of_one_line_and_of_several_have_slopes_of_their_own(
    alone: tuple[float, float], together: tuple[float, float]
) -> None:
    parts = [drawn(FORMS[1], *alone, carts=4_000, lines=1), drawn(FORMS[1], *together, carts=2_000, seed=1)]
    found = fit_forms(joined(parts), OTHERWISE)[FORMS[1]]
    for own, (slope, intercept), rows in zip((found[ONE_LINE], found[SEVERAL_LINES]), (alone, together), parts, strict=True):
        if slope > 0:
            assert (own.lines.slope, own.lines.intercept) == pytest.approx((slope, intercept), abs=0.12)
        else:
            assert own.lines.slope == 0
            assert own.lines.probability(np.zeros(1))[0] == pytest.approx(rows.label.mean(), abs=0.01)
    assert found[ONE_LINE].cart == CartHead.of_line(found[ONE_LINE].lines)


def test_a_form_whose_logits_mislead_gets_its_base_rate(forms: dict[str, BySize]) -> None:
    found = forms[FORMS[0]][SEVERAL_LINES]
    rows = drawn(FORMS[0], *PLANTED[FORMS[0]], carts=4_000)
    rate = rows.label.mean()
    assert found.lines.slope == 0
    assert found.lines.probability(np.array([-9.0, 9.0])) == pytest.approx([rate, rate], abs=0.01)
    told = "; ".join(found.notes)
    assert (
        f"stranger, carts of several lines: on validation the model tells no more of a line than the base rate {rate:.3f}" in told
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lines", [1, LINES])
def test_a_form_is_never_much_worse_than_its_base_rate(seed: int, lines: int) -> None:
    """Whatever the logits, on new rows the loss is that of the base rate up to what a sample can tell."""
    for slope in (-1.0, 0.0, 0.05, 1.0):
        fitted = fit_forms(drawn(FORMS[0], slope, -1.0, carts=400, seed=seed, lines=lines), OTHERWISE)[FORMS[0]]
        found = fitted[SIZES[lines > 1]]
        new = drawn(FORMS[0], slope, -1.0, carts=4_000, seed=seed + 100, lines=lines)
        own = log_loss(new.label, found.lines.probability(new.logit))
        assert own < log_loss(new.label, np.full(len(new.label), new.label.mean())) + 0.01


def test_users_are_held_out_whole() -> None:
    """A logit that knows users, and nothing of others, tells nothing of new ones."""
    rng = np.random.default_rng(3)
    rows = drawn(FORMS[0], 0.0, 0.0, carts=100, users=20)
    taste = dict(zip(np.unique(rows.user), rng.integers(0, 2, 20), strict=True))
    label = np.array([taste[user] for user in rows.user])
    # Within the sample a slope on noise of 20 users fits a little; over held-out users it does not.
    noise = dict(zip(np.unique(rows.user), rng.normal(size=20), strict=True))
    logit = np.array([noise[user] for user in rows.user])
    asked = RequestRows(rows.form, rows.cart, rows.user, logit, label, label)
    assert fit_forms(asked, OTHERWISE)[FORMS[0]][SEVERAL_LINES].lines.slope == 0


def test_a_head_that_tells_less_than_the_base_rate_gives_way_to_it() -> None:
    rows = drawn(FORMS[0], 0.0, -1.0, carts=40, users=10, seed=0)
    found = fit_forms(rows, OTHERWISE)[FORMS[0]][SEVERAL_LINES]
    assert (found.lines.slope, found.cart.weights) == (0.0, (0.0, 0.0, 0.0))
    assert [note.partition(" tells no more of a ")[2][:4] for note in found.notes] == ["line", "cart"]
    features = np.array([[9.0, 1.0, np.log1p(LINES)]])
    carts = rows.cart_label.reshape(-1, LINES)[:, 0].mean()
    assert sigmoid(found.cart.log_odds(features, found.lines))[0] == pytest.approx(carts, abs=0.02)


def test_a_form_with_too_few_rows_takes_that_of_all_and_none_that_of_the_log() -> None:
    many, few = drawn(FORMS[2], 1.0, 0.0, carts=2_000), drawn(FORMS[0], 1.0, 0.0, carts=3, seed=9)
    found = fit_forms(joined([many, few]), OTHERWISE)
    assert found[FORMS[0]] == found[FORMS[1]] == found[FORMS[3]]
    assert found[FORMS[0]][SEVERAL_LINES].lines.slope == pytest.approx(1.0, abs=0.1)
    for each in (*(of_form[ONE_LINE] for of_form in found.values()), *(e[ONE_LINE] for e in fit_forms(few, OTHERWISE).values())):
        assert each == FormCalibration(OTHERWISE.lines, CartHead.of_line(OTHERWISE.lines)), "no cart of one line"
    assert all(each[SEVERAL_LINES] == OTHERWISE for each in fit_forms(few, OTHERWISE).values())


def test_a_size_with_too_few_rows_takes_that_of_all_forms_and_not_the_other_size() -> None:
    alone, together = drawn(FORMS[2], 2.0, 1.0, carts=4_000, lines=1), drawn(FORMS[0], 0.5, -1.0, carts=2_000)
    found = fit_forms(joined([alone, together]), OTHERWISE)
    for form in FORMS:
        assert found[form][ONE_LINE].lines.slope == pytest.approx(2.0, abs=0.15)
        assert found[form][SEVERAL_LINES].lines.slope == pytest.approx(0.5, abs=0.1)


def test_lines_without_a_slope_bound_a_head_and_lines_with_one_bound_a_base_rate_from_above() -> None:
    features = np.array([[9.0, 9.0, np.log1p(3)], [-9.0, -9.0, np.log1p(3)]])
    head = CartHead((1.0, 0.0, 0.0), 0.0)
    assert sigmoid(head.log_odds(features, Platt(0.0, np.log(0.2 / 0.8)))) == pytest.approx([0.6, 0.2])
    rate = CartHead((0.0, 0.0, 0.0), 0.0)
    assert sigmoid(rate.log_odds(features, Platt(1.0, 0.0))) == pytest.approx([0.5, 3 * sigmoid(np.array(-9.0))])
    assert sigmoid(rate.log_odds(features, Platt(0.0, 3.0))) == pytest.approx([0.5, 0.5])


def test_have_several_tells_of_each_line_whether_its_cart_has_others() -> None:
    assert have_several(np.array(["b", "a", "b", "c"], dtype=object)).tolist() == [True, False, True, False]
    assert have_several(np.zeros(0)).shape == (0,)


@st.composite
def carts_of_any_kind(draw: st.DrawFn) -> RequestRows:
    """Rows of few or many carts of one to four lines, whose logits tell much, nothing, or the contrary."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.integers(1, draw(st.integers(1, 4)) + 1, draw(st.integers(0, 300)))
    cart = np.repeat(np.arange(len(sizes)), sizes)
    logit = rng.normal(0, draw(st.floats(0.1, 8)), len(cart))
    chance = sigmoid(draw(st.floats(-2, 3)) * logit + draw(st.floats(-4, 4)) - draw(st.floats(-2, 2)) * (sizes[cart] > 1))
    label = (rng.random(len(cart)) < chance).astype(int)
    bought = (np.bincount(cart, weights=label, minlength=len(sizes))[cart] > 0).astype(int)
    form = np.array(FORMS, dtype=object)[rng.integers(0, draw(st.integers(1, 4)), len(sizes))]
    names = np.array([f"c{number}" for number in cart], dtype=object)
    users = np.array([f"u{number % 37}" for number in cart], dtype=object)
    return RequestRows(form[cart], names, users, logit, label, bought)


@settings(max_examples=60)
@given(carts_of_any_kind(), st.lists(st.lists(st.floats(-60, 60), min_size=1, max_size=6), min_size=1, max_size=20))
def test_whatever_is_fitted_a_cart_and_its_lines_agree(rows: RequestRows, asked: list[list[float]]) -> None:
    """A cart of one line gets the chance of the line; one of n that of the likeliest at least, and n times that at most."""
    cart = np.repeat(np.arange(len(asked)), [len(lines) for lines in asked])
    logit = np.concatenate([np.array(lines) for lines in asked])
    for by_size in fit_forms(rows, OTHERWISE).values():
        lines, carts, first = form_log_odds(by_size, cart, logit)
        several = by_size[SEVERAL_LINES]
        base_rates_alone = several.lines.slope == 0 and not any(several.cart.weights)
        for number, (chance, start) in enumerate(zip(sigmoid(carts), first, strict=True)):
            own = sigmoid(lines[start : start + len(asked[number])])
            if len(own) == 1:
                assert carts[number] == pytest.approx(lines[start], rel=1e-12, abs=1e-12)
            elif not base_rates_alone:
                assert own.max() * (1 - 1e-9) <= chance <= min(1.0, len(own) * own.max()) * (1 + 1e-9)


def test_a_cart_that_gets_a_base_rate_is_not_raised_by_its_lines_but_caps_them() -> None:
    lines, head = Platt(1.0, 0.0), CartHead((0.0, 0.0, 0.0), 0.5)
    by_size = {ONE_LINE: FormCalibration(lines, CartHead.of_line(lines)), SEVERAL_LINES: FormCalibration(lines, head)}
    cart = np.array(["a", "a", "b", "b", "c"])
    found, carts, _ = form_log_odds(by_size, cart, np.array([2.0, -1.0, -3.0, -4.0, 2.0]))
    assert found.tolist() == [0.5, -1.0, -3.0, -4.0, 2.0]
    most = 2 * sigmoid(np.array(-3.0))
    assert carts.tolist() == pytest.approx([0.5, float(np.log(most / (1 - most))), 2.0])


def test_training_s_base_rates_are_answered_where_validation_bears_nothing_else_out() -> None:
    """A few shoppers of validation buy more than those of training, who are many."""
    rows = joined([drawn(form, 0.0, 1.0, carts=12, seed=place, users=6) for place, form in enumerate(FORMS)])
    train = pl.DataFrame(
        {
            "form": [""] * 8,
            "size": [SEVERAL_LINES] * 8,
            "cart_id": list("aabbccdd"),
            "label": [1, 0] * 4,
            "cart_label": [1] * 6 + [0] * 2,
        }
    )
    rates = BaseRates(train)
    assert (rates.of_lines(), rates.of_carts(), rates.of_lines(FORMS[0], ONE_LINE)) == (0.5, 0.75, 0.5)
    for each in fit_forms(rows, fit_log(rows, rates), rates).values():
        own = each[SEVERAL_LINES]
        assert (own.lines.slope, own.lines.intercept) == (0.0, pytest.approx(0.0))
        assert (own.cart.weights, own.cart.bias) == ((0.0, 0.0, 0.0), pytest.approx(np.log(3.0)))


def test_what_is_written_is_read(forms: dict[str, BySize], tmp_path: Path) -> None:
    lines, carts = form_contents(forms)
    for name, content in (("calibration", lines), ("head", carts)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"forms": content}))
    read = read_forms(tmp_path)
    for form, each in forms.items():
        assert {size: (own.lines.content(), own.cart.content()) for size, own in each.items()} == {
            size: (own.lines.content(), own.cart.content()) for size, own in read[form].items()
        }
    del lines[FORMS[3]][ONE_LINE]
    (tmp_path / "calibration.json").write_text(json.dumps({"forms": lines}))
    with pytest.raises(RunError, match="calibration of requests cannot be read"):
        read_forms(tmp_path)


def test_noise_is_hardly_ever_taken_for_knowledge_and_knowledge_always_is_used() -> None:
    """A lower held-out loss alone would keep ten of sixty models of pure noise."""

    def used(slope: float) -> int:
        drawings = [drawn(FORMS[0], slope, -0.5, carts=60, users=20, seed=seed) for seed in range(60)]
        return sum(fit_forms(rows, OTHERWISE)[FORMS[0]][SEVERAL_LINES].lines.slope > 0 for rows in drawings)

    assert used(0.0) <= 2
    assert used(1.0) == 60


def carts_with(chance: Callable[[np.ndarray], np.ndarray], carts: int = 3_000, users: int = 300) -> RequestRows:
    """Carts of the log of up to eight lines, bought by the chance of ``HEAD_FEATURES`` [C, 3], one line of them."""
    rng = np.random.default_rng(1)
    cart = np.repeat(np.arange(carts), rng.integers(2, 9, carts))
    logit = rng.normal(0, 1.5, len(cart))
    features, first = head_features(cart, logit)
    bought = (rng.random(carts) < chance(features))[cart].astype(int)
    label = np.where(np.isin(np.arange(len(cart)), first), bought, 0)
    who = np.array([f"u{number % users}" for number in cart], dtype=object)
    return RequestRows(np.full(len(cart), AS_LOGGED, dtype=object), cart, who, logit, label, bought)


def test_the_head_of_the_log_learns_that_full_carts_are_bought() -> None:
    head = fit_log(carts_with(lambda features: sigmoid(features @ [0.0, 0.0, 3.0] - 5.5), 6_000, 600)).cart
    assert head.weights == pytest.approx((0.0, 0.0, 3.0), abs=0.4)


def test_the_head_of_the_log_gets_the_base_rate_where_no_cart_is_told_from_another() -> None:
    found = fit_log(carts_with(lambda features: np.full(len(features), 0.3)))
    assert found.cart.weights == (0.0, 0.0, 0.0)
    assert sigmoid(np.array(found.cart.bias)) == pytest.approx(0.3, abs=0.03)
    assert "tells no more of a cart than the base rate 0." in found.notes[-1]


@pytest.mark.parametrize("carts", [0, 1, 9])
def test_the_head_of_too_few_carts_is_the_likeliest_line(carts: int) -> None:
    rows = carts_with(lambda features: np.full(len(features), 0.5), carts)
    found = fit_log(rows)
    assert found.cart == CartHead.of_line(found.lines)
    assert found.notes[-1] == (
        f"cart head: there are {carts} validation carts, fewer than 20, so a cart gets the chance of its likeliest line"
    )


def lucky(seed: int, users: int, carts: int) -> RequestRows:
    """Carts of one form and of few shoppers, each of whom looks alike to the model and buys by a taste that it does not know."""
    rng = np.random.default_rng(seed)
    looks, taste = rng.normal(0, 1.5, users), rng.normal(1.0, 1.5, users)
    who = np.repeat(np.arange(users), carts)
    cart = np.repeat(np.arange(len(who)), LINES)
    logit = looks[who][cart] + rng.normal(0, 1, len(cart))
    bought = (rng.random(len(who)) < sigmoid(taste[who]))[cart].astype(int)
    label = bought * (rng.integers(0, LINES, len(who))[cart] == np.arange(len(cart)) % LINES)
    names = np.array([f"u{number}" for number in who], dtype=object)[cart]
    return RequestRows(np.full(len(cart), FORMS[2], dtype=object), cart, names, logit, label, bought)


def test_carts_of_few_shoppers_cost_hardly_more_than_their_base_rate() -> None:
    """Whatever the tastes of some twenty shoppers show by luck, new shoppers lose little by it."""
    cost = []
    for seed in range(20):
        own, new = fit_forms(lucky(seed, 20, 30), OTHERWISE)[FORMS[2]], lucky(seed + 100, 300, 10)
        _, carts, first = form_log_odds(own, new.cart, new.logit)
        rate = lucky(seed, 20, 30).cart_label.mean()
        cost.append(log_loss(new.cart_label[first], sigmoid(carts)) - log_loss(new.cart_label[first], np.full(len(first), rate)))
    assert np.mean(cost) < 0.002
    assert max(cost) < 0.03
