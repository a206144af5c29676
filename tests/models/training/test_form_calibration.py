"""A calibration for each form of request: planted slopes are found, and what tells nothing falls back to the base rate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cartwheel.errors import RunError
from models.calibration import CartHead, Platt, sigmoid
from models.form_calibration import FormCalibration, RequestRows, fit_forms, form_contents, read_forms
from models.metrics.classification import log_loss
from workflows.columns import FORMS

LINES = 3


def drawn(form: str, slope: float, intercept: float, carts: int, seed: int = 0, users: int = 200) -> RequestRows:
    """Carts of three lines whose chance of a purchase is sigmoid(slope * logit + intercept)."""
    rng = np.random.default_rng(seed)
    rows = carts * LINES
    logit = rng.normal(0, 2, rows)
    label = (rng.random(rows) < sigmoid(slope * logit + intercept)).astype(int)
    cart = np.repeat(np.arange(carts), LINES)
    bought = np.repeat(label.reshape(-1, LINES).max(axis=1), LINES)
    names = np.array([f"{form} {number}" for number in cart], dtype=object)
    who = np.array([f"u{number % users}" for number in cart], dtype=object)
    return RequestRows(np.full(rows, form, dtype=object), names, who, logit, label, bought)


def joined(parts: list[RequestRows]) -> RequestRows:
    return RequestRows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in RequestRows.__dataclass_fields__}
    )


PLANTED = {FORMS[0]: (-1.0, -0.8), FORMS[1]: (0.5, -1.0), FORMS[2]: (1.0, 0.0), FORMS[3]: (2.0, 1.0)}
OTHERWISE = FormCalibration(Platt(3.0, 2.0), CartHead((1.0, 0.0, 0.0), 0.5))


@pytest.fixture(scope="module")
def forms() -> dict[str, FormCalibration]:
    rows = joined([drawn(form, *planted, carts=4_000, seed=place) for place, (form, planted) in enumerate(PLANTED.items())])
    return fit_forms(rows, OTHERWISE)


@pytest.mark.parametrize("form", FORMS[1:])
def test_each_form_gets_its_own_slope(forms: dict[str, FormCalibration], form: str) -> None:
    slope, intercept = PLANTED[form]
    assert forms[form].lines.slope == pytest.approx(slope, abs=0.08)
    assert forms[form].lines.intercept == pytest.approx(intercept, abs=0.08)
    assert any(forms[form].cart.weights)
    assert forms[form].notes == ()


def test_a_form_whose_logits_mislead_gets_its_base_rate(forms: dict[str, FormCalibration]) -> None:
    found = forms[FORMS[0]]
    rows = drawn(FORMS[0], *PLANTED[FORMS[0]], carts=4_000)
    rate = rows.label.mean()
    assert found.lines.slope == 0
    assert found.lines.probability(np.array([-9.0, 9.0])) == pytest.approx([rate, rate], abs=0.01)
    told = "; ".join(found.notes)
    assert f"stranger: on validation the model tells no more of a line than the base rate {rate:.3f}" in told


@pytest.mark.parametrize("seed", range(5))
def test_a_form_is_never_much_worse_than_its_base_rate(seed: int) -> None:
    """Whatever the logits, on new rows the loss is that of the base rate up to what a sample can tell."""
    for slope in (-1.0, 0.0, 0.05, 1.0):
        found = fit_forms(drawn(FORMS[0], slope, -1.0, carts=400, seed=seed), OTHERWISE)[FORMS[0]]
        new = drawn(FORMS[0], slope, -1.0, carts=4_000, seed=seed + 100)
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
    assert fit_forms(asked, OTHERWISE)[FORMS[0]].lines.slope == 0


def test_a_head_that_tells_less_than_the_base_rate_gives_way_to_it() -> None:
    rows = drawn(FORMS[0], 0.0, -1.0, carts=40, users=10, seed=0)
    found = fit_forms(rows, OTHERWISE)[FORMS[0]]
    assert (found.lines.slope, found.cart.weights) == (0.0, (0.0, 0.0, 0.0))
    assert [note.partition(" tells no more of a ")[2][:4] for note in found.notes] == ["line", "cart"]
    features = np.array([[9.0, 1.0, np.log1p(LINES)]])
    carts = rows.cart_label.reshape(-1, LINES)[:, 0].mean()
    assert sigmoid(found.cart.log_odds(features, found.lines))[0] == pytest.approx(carts, abs=0.02)
    assert sigmoid(found.cart.log_odds(features, Platt(1.0, 9.0)))[0] == pytest.approx(carts, abs=0.02)


def test_a_form_with_too_few_rows_takes_that_of_all_and_none_that_of_the_log() -> None:
    many, few = drawn(FORMS[2], 1.0, 0.0, carts=2_000), drawn(FORMS[0], 1.0, 0.0, carts=3, seed=9)
    found = fit_forms(joined([many, few]), OTHERWISE)
    assert found[FORMS[0]] == found[FORMS[1]] == found[FORMS[3]]
    assert found[FORMS[0]].lines.slope == pytest.approx(1.0, abs=0.1)
    assert all(each == OTHERWISE for each in fit_forms(few, OTHERWISE).values())


def test_what_is_written_is_read(forms: dict[str, FormCalibration], tmp_path: Path) -> None:
    lines, carts = form_contents(forms)
    for name, content in (("calibration", lines), ("head", carts)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"forms": content}))
    read = read_forms(tmp_path)
    assert {form: (each.lines.slope, each.cart.weights) for form, each in read.items()} == {
        form: (each.lines.slope, each.cart.weights) for form, each in forms.items()
    }
    del lines[FORMS[3]]
    (tmp_path / "calibration.json").write_text(json.dumps({"forms": lines}))
    with pytest.raises(RunError, match="calibration of requests cannot be read"):
        read_forms(tmp_path)


def test_noise_is_hardly_ever_taken_for_knowledge_and_knowledge_always_is_used() -> None:
    """A lower held-out loss alone would keep ten of sixty models of pure noise."""

    def used(slope: float) -> int:
        drawings = [drawn(FORMS[0], slope, -0.5, carts=60, users=20, seed=seed) for seed in range(60)]
        return sum(fit_forms(rows, OTHERWISE)[FORMS[0]].lines.slope > 0 for rows in drawings)

    assert used(0.0) <= 2
    assert used(1.0) == 60
