"""Boosted trees find what a line cannot, and are fixed by the seed."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.families.tabular.gradient_boosting import GradientBoostingBaseline, GradientBoostingCartBaseline
from models.families.tabular.logistic_regression import LogisticBaseline, read_train_rows
from models.metrics.classification import Labels, roc_auc
from models.training.calibration import sigmoid


def crossed(seed: int, rows: int = 2000) -> tuple[pl.DataFrame, Labels]:
    """Two features of which neither says anything alone: the label is likelier where their signs agree."""
    generator = np.random.default_rng(seed)
    price, age = generator.normal(size=rows), generator.normal(size=rows)
    label = (generator.random(rows) < np.where(price * age > 0, 0.8, 0.2)).astype(np.int64)
    return pl.DataFrame({"item_price": price.astype(np.float32), "item_age_days": age.astype(np.float32)}), label


def test_it_finds_a_signal_that_a_logistic_regression_cannot() -> None:
    (table, label), (unseen, truth) = crossed(0), crossed(1)
    assert roc_auc(truth, GradientBoostingBaseline(table, label, 0).logit(unseen)) > 0.75
    assert roc_auc(truth, LogisticBaseline(table, label, 0).logit(unseen)) < 0.6


def test_own_ids_are_read() -> None:
    def named(seed: int) -> tuple[pl.DataFrame, Labels]:
        table, _ = crossed(seed, 4000)
        generator = np.random.default_rng(seed + 9)
        names = generator.integers(3, 13, len(table))
        label = (generator.random(len(table)) < np.where(np.isin(names, [3, 6, 8, 11]), 0.9, 0.1)).astype(np.int64)
        return table.with_columns(team=pl.Series(names, dtype=pl.Int64)), label

    (table, label), (unseen, truth) = named(0), named(1)
    assert roc_auc(truth, GradientBoostingBaseline(table, label, 0).logit(unseen)) > 0.85
    odd = unseen.with_columns(team=pl.lit(2, pl.Int64))
    assert np.isfinite(GradientBoostingBaseline(table, label, 0).logit(odd)).all()


def test_its_chances_are_calibrated_where_it_learnt() -> None:
    table, label = crossed(0)
    chance = sigmoid(GradientBoostingBaseline(table, label, 0).logit(table))
    assert chance.mean() == pytest.approx(label.mean(), abs=0.01)


def test_the_seed_fixes_it_and_no_rows_get_no_answers() -> None:
    table, label = crossed(0)
    model = GradientBoostingBaseline(table, label, 3)
    np.testing.assert_array_equal(model.logit(table), GradientBoostingBaseline(table, label, 3).logit(table))
    np.testing.assert_array_equal(model.logit(table)[7:9], model.logit(table[7:9]))
    assert len(model.logit(table.clear())) == 0


def test_of_many_rows_the_seed_fixes_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.families.tabular.gradient_boosting.MAX_ROWS", 1000)
    table, label = crossed(0)
    first, again, other = (GradientBoostingBaseline(table, label, seed).logit(table) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert roc_auc(label, first) > 0.75


def test_a_missing_value_and_an_hour_never_seen_are_answered(finished_run: Path) -> None:
    train = read_train_rows(finished_run, "ranking", "label", 0)
    model = GradientBoostingBaseline(train.table, train.label, 0)
    odd = train.table.with_columns(hour=pl.lit(99), item_price=pl.lit(None, pl.Float32))
    assert np.isfinite(model.logit(odd)).all()
    assert roc_auc(train.label, model.logit(train.table)) > 0.65


def test_whole_carts_are_in_order_of_appearance() -> None:
    generator = np.random.default_rng(0)
    price = generator.uniform(0, 9, 900)
    table = pl.DataFrame({"item_price": price.astype(np.float32)})
    cart = pl.Series(np.arange(900) // 3).map_elements(lambda number: f"cart{number}", return_dtype=pl.String)
    mean = price.reshape(-1, 3).mean(axis=1)
    label = np.repeat((mean > 5).astype(np.int64), 3)
    model = GradientBoostingCartBaseline(table, label, cart, 0)
    logit = model.logit(table, cart)
    assert logit.shape == (300,)
    assert roc_auc((mean > 5).astype(np.int64), logit) > 0.99
    assert len(model.logit(table.clear(), cart.clear())) == 0


def test_one_class_teaches_nothing() -> None:
    table, label = crossed(0)
    with pytest.raises(ValueError, match="all 2000 labels are 1; it takes both classes"):
        GradientBoostingBaseline(table, np.ones_like(label), 0)
