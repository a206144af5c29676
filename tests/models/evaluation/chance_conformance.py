"""What every baseline of chances must satisfy: one suite for those of rows, one for those of carts, each inherited in two lines."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from models.families.tabular.row_learner import MakeCartLearner, MakeRowLearner

ROWS, CARTS = 600, 250


def rows(seed: int, number: int = ROWS) -> tuple[pl.DataFrame, np.ndarray]:
    """Encoded rows whose labels two of the columns tell, with noise."""
    rng = np.random.default_rng(seed)
    numbers = {name: rng.normal(size=number).astype(np.float32) for name in ("user_events", "item_events", "price_gap")}
    table = pl.DataFrame({**numbers, "hour": rng.integers(3, 8, number), "weekday": rng.integers(3, 6, number)})
    signal = 2.0 * numbers["user_events"] - numbers["price_gap"]
    return table, (rng.random(number) < 1 / (1 + np.exp(-signal))).astype(np.int64)


def lines(seed: int) -> tuple[pl.DataFrame, np.ndarray, pl.Series]:
    """Lines of carts, whose labels are those of their cart."""
    rng = np.random.default_rng(seed)
    cart = np.sort(rng.integers(0, CARTS, ROWS))
    table, _ = rows(seed)
    mean = np.bincount(cart, table["user_events"].to_numpy(), CARTS) / np.maximum(np.bincount(cart, minlength=CARTS), 1)
    label = (rng.random(CARTS) < 1 / (1 + np.exp(-3.0 * mean))).astype(np.int64)
    return table, label[cart], pl.Series([f"c{number}" for number in cart])


class RowLearnerConformance:
    """Inherit it and set ``make``."""

    make: ClassVar[MakeRowLearner]

    def test_it_finds_what_the_features_tell(self) -> None:
        fresh, truth = rows(1)
        assert roc_auc_score(truth, type(self).make(*rows(0), 0).logit(fresh)) > 0.75

    def test_answers_are_finite_log_odds(self) -> None:
        found = type(self).make(*rows(0), 0).logit(rows(1)[0])
        assert (found.dtype, found.shape) == (np.float64, (ROWS,))
        assert np.isfinite(found).all()
        assert abs((1 / (1 + np.exp(-found))).mean() - rows(0)[1].mean()) < 0.1

    def test_the_order_of_training_rows_does_not_matter(self) -> None:
        (table, label), (fresh, _) = rows(0), rows(1)
        order = np.random.default_rng(3).permutation(ROWS)
        mixed = type(self).make(table[order], label[order], 0)
        np.testing.assert_allclose(mixed.logit(fresh), type(self).make(table, label, 0).logit(fresh), rtol=1e-4, atol=1e-4)

    def test_a_column_that_it_learnt_from_and_that_is_gone_is_named(self) -> None:
        learner, (fresh, _) = type(self).make(*rows(0), 0), rows(1)
        with pytest.raises(pl.exceptions.ColumnNotFoundError, match="price_gap"):
            learner.logit(fresh.drop("price_gap"))

    def test_one_seed_gives_one_model(self) -> None:
        fresh, _ = rows(1)
        np.testing.assert_array_equal(*(type(self).make(*rows(0), 5).logit(fresh) for _ in range(2)))

    def test_a_row_alone_is_answered_as_among_others(self) -> None:
        learner, (fresh, _) = type(self).make(*rows(0), 0), rows(1)
        found = learner.logit(fresh)
        for row in (0, 17, ROWS - 1):
            np.testing.assert_allclose(learner.logit(fresh[row]), found[row : row + 1], rtol=1e-9)

    def test_no_rows_have_no_answers_and_more_columns_do_not_matter(self) -> None:
        learner, (fresh, _) = type(self).make(*rows(0), 0), rows(1)
        assert learner.logit(fresh.clear()).shape == (0,)
        np.testing.assert_array_equal(learner.logit(fresh.with_columns(other=pl.lit("x"))), learner.logit(fresh))

    def test_one_class_is_refused(self) -> None:
        with pytest.raises(ValueError, match="class"):
            type(self).make(rows(0)[0], np.ones(ROWS, np.int64), 0)


class CartLearnerConformance:
    """Inherit it and set ``make``."""

    make: ClassVar[MakeCartLearner]

    def test_it_finds_what_the_features_tell(self) -> None:
        table, label, cart = lines(1)
        truth = pl.DataFrame({"cart": cart, "label": label}).group_by("cart", maintain_order=True).first()["label"].to_numpy()
        learner = type(self).make(*lines(0), 0)
        assert roc_auc_score(truth, learner.logit(table, cart)) > 0.65

    def test_carts_come_in_the_order_in_which_they_first_appear(self) -> None:
        (table, _, cart), learner = lines(1), type(self).make(*lines(0), 0)
        found = dict(zip(cart.unique(maintain_order=True), learner.logit(table, cart), strict=True))
        order = np.random.default_rng(2).permutation(ROWS)
        mixed = learner.logit(table[order], cart.gather(order))
        assert np.isfinite(mixed).all()
        np.testing.assert_allclose(mixed, [found[each] for each in cart.gather(order).unique(maintain_order=True)], rtol=1e-5)

    def test_the_order_of_training_lines_does_not_matter(self) -> None:
        (table, label, cart), (fresh, _, asked) = lines(0), lines(1)
        order = np.random.default_rng(3).permutation(ROWS)
        mixed = type(self).make(table[order], label[order], cart.gather(order), 0)
        whole = type(self).make(table, label, cart, 0)
        np.testing.assert_allclose(mixed.logit(fresh, asked), whole.logit(fresh, asked), rtol=1e-4, atol=1e-4)

    def test_a_column_that_it_learnt_from_and_that_is_gone_is_named(self) -> None:
        learner, (table, _, cart) = type(self).make(*lines(0), 0), lines(1)
        with pytest.raises(pl.exceptions.ColumnNotFoundError, match="price_gap"):
            learner.logit(table.drop("price_gap"), cart)

    def test_a_cart_alone_is_answered_as_among_others(self) -> None:
        (table, _, cart), learner = lines(1), type(self).make(*lines(0), 0)
        own = (cart == cart[300]).to_numpy()
        found = dict(zip(cart.unique(maintain_order=True), learner.logit(table, cart), strict=True))
        np.testing.assert_allclose(learner.logit(table.filter(own), cart.filter(own)), [found[cart[300]]], rtol=1e-6)

    def test_one_seed_gives_one_model_and_no_lines_have_no_answers(self) -> None:
        table, _, cart = lines(1)
        np.testing.assert_array_equal(*(type(self).make(*lines(0), 5).logit(table, cart) for _ in range(2)))
        assert type(self).make(*lines(0), 5).logit(table.clear(), cart.clear()).shape == (0,)

    def test_one_class_is_refused(self) -> None:
        table, _, cart = lines(0)
        with pytest.raises(ValueError, match="class"):
            type(self).make(table, np.zeros(ROWS, np.int64), cart, 0)
