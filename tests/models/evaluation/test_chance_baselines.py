"""The baselines learn what they can, from a sample that the seed fixes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import RunError
from models.families.tabular.logistic_regression import CartBaseline, LogisticBaseline, read_train_rows
from models.metrics.classification import roc_auc
from models.retrieval.run_scorer import popularity
from models.training.calibration import sigmoid


def test_logistic_regression_finds_a_linear_signal(finished_run: Path) -> None:
    train = read_train_rows(finished_run, "ranking", "label", 0)
    model = LogisticBaseline(train.table, train.label, 0)
    again = LogisticBaseline(train.table, train.label, 0)
    logit = model.logit(train.table)
    np.testing.assert_array_equal(logit, again.logit(train.table))
    assert roc_auc(train.label, logit) > 0.65
    assert sigmoid(logit).mean() == pytest.approx(train.base_rate, abs=1e-3)
    assert len(model.logit(train.table.clear())) == 0


def test_an_hour_never_seen_in_training_is_no_hour(finished_run: Path) -> None:
    train = read_train_rows(finished_run, "ranking", "label", 0)
    model = LogisticBaseline(train.table, train.label, 0)
    assert np.isfinite(model.logit(train.table.with_columns(hour=pl.lit(99)))).all()


def test_the_sample_is_fixed_by_the_seed_and_keeps_carts_whole(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.families.tabular.logistic_regression.MAX_ROWS", 100)
    rows = read_train_rows(finished_run, "ranking", "label", 0)
    assert len(rows.table) == len(rows.label) == 100
    assert rows.table.equals(read_train_rows(finished_run, "ranking", "label", 0).table)
    assert not rows.table.equals(read_train_rows(finished_run, "ranking", "label", 1).table)
    carts = read_train_rows(finished_run, "cart", "cart_label", 0, "cart_id").table["cart_id"]
    assert len(carts) == 99
    assert carts.value_counts()["count"].unique().to_list() == [3]


def test_whole_carts_are_in_order_of_appearance() -> None:
    table = pl.DataFrame({"item_price": np.array([1.0, 9.0, 1.0, 9.0, 8.0], np.float32)})
    cart = pl.Series(["b", "a", "b", "a", "a"])
    model = CartBaseline(table, np.array([0, 1, 0, 1, 1]), cart, 0)
    first, second = model.logit(table, cart)
    assert first < second
    assert len(model.logit(table.clear(), cart.clear())) == 0


def test_popularity_uses_the_counts_of_the_split_and_0_for_unknown(own_run: Path) -> None:
    path = own_run / "examples/test/catalogue.parquet"
    first = pl.int_range(pl.len()) == 0
    pl.read_parquet(path).with_columns(item_events=pl.when(first).then(None).otherwise("item_events")).write_parquet(path)
    scores = popularity(own_run, "test", "item_events")(np.array([4, 5]))
    assert scores.shape == (2, 60)
    assert scores[0, 0] == 0.0


def test_a_missing_column_is_named(finished_run: Path) -> None:
    with pytest.raises(RunError, match=r"lacks the columns \['clicked'\]"):
        read_train_rows(finished_run, "ranking", "clicked", 0)
