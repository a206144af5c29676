"""The oracle of purchase intent gives the probabilities by which sessions really buy."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from workflows.simulate.intent_truth import purchase_probability
from workflows.simulate.world import Doubles


def asked_after(shop: Any, views: int, sessions: int) -> tuple[pl.DataFrame, Doubles]:
    """Ask after the n-th view of sessions drawn by chance; return them with whether they bought, and the probabilities."""
    nth = shop.of_type("view").sort("session_id", "us").with_columns(n=pl.int_range(pl.len()).over("session_id") + 1)
    buys = shop.of_type("purchase").select("session_id").unique().with_columns(bought=pl.lit(1.0))
    asked = nth.filter(pl.col("n") == views).sample(sessions, seed=3).join(buys, on="session_id", how="left").fill_null(0.0)
    found = purchase_probability(shop.truth, shop.events, asked["session_id"].to_list(), asked["us"].to_numpy() + 1)
    return asked, found


@pytest.mark.parametrize("views", [1, 3])
def test_sessions_buy_as_often_as_the_oracle_expects(shop: Any, views: int) -> None:
    asked, found = asked_after(shop, views, 2500)
    bought = asked["bought"].to_numpy()
    assert abs((bought - found).sum() / np.sqrt((found * (1 - found)).sum())) < 4
    for part in np.array_split(np.argsort(found), 4):
        assert abs((bought - found)[part].sum() / np.sqrt((found * (1 - found))[part].sum())) < 4
    assert found[bought == 1].mean() > found[bought == 0].mean() + 0.1


def test_after_a_purchase_nothing_follows(shop: Any) -> None:
    last = shop.of_type("purchase").head(20)
    assert purchase_probability(shop.truth, shop.events, last["session_id"].to_list(), last["us"].to_numpy() + 1).max() == 0.0
