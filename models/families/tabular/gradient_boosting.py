"""Gradient boosted trees on the DLRM's features without ids: a strong simple baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from models.families.tabular.logistic_regression import LEVELS, cart_features, numbers
from models.metrics.classification import Floats, Labels

GRADIENT_BOOSTING: Final = "gradient_boosting"

ROUNDS: Final = 75
"""Trees. With a learning rate of 0.1 and leaves of 50 rows they stop before they fit noise, so no rows are held out to say when."""

MAX_ROWS: Final = 100_000
"""Rows that the trees are grown on, sampled with the seed: on the demo, half as many again gain 0.0015 of ROC AUC."""

_SETTINGS: Final = {
    "objective": "binary",
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "lambda_l2": 1.0,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,  # sums of several threads run in an order that changes with the machine
    "verbosity": -1,
}


class GradientBoostingBaseline:
    """LightGBM (Ke et al., NIPS 2017) on continuous features, hour and weekday; a missing value goes the way that fits best.

    The shop's own ids, whole numbers beside hour and weekday, are split by which of them belong together.

    Args:
        table: training features, encoded.
        label: [n] 0 or 1, both of them present.
        seed: fixes what LightGBM draws.

    Raises:
        ValueError: if only one class is present.
    """

    def __init__(self, table: pl.DataFrame, label: Labels, seed: int) -> None:
        own = [name for name, dtype in table.schema.items() if dtype == pl.Int64 and name not in LEVELS]
        self._columns = [*numbers(table.schema), *(name for name in LEVELS if name in table.columns), *own]
        self._model = _fitted(self._matrix(table), label, seed, [self._columns.index(name) for name in own])

    def logit(self, table: pl.DataFrame) -> Floats:
        """Return [n] log odds of label 1."""
        return _log_odds(self._model, self._matrix(table))

    def _matrix(self, table: pl.DataFrame) -> Floats:
        return table.select(pl.col(self._columns).cast(pl.Float64)).to_numpy()


class GradientBoostingCartBaseline:
    """``GradientBoostingBaseline`` on whole carts: the mean of the features of their lines, and how many lines there are."""

    def __init__(self, table: pl.DataFrame, label: Labels, cart: pl.Series, seed: int) -> None:
        self._columns = numbers(table.schema)
        features, labels = cart_features(table.select(self._columns), cart, label)
        self._model = _fitted(features, labels, seed)

    def logit(self, table: pl.DataFrame, cart: pl.Series) -> Floats:
        """Return the log odds of each cart, in the order in which carts first appear."""
        features, _ = cart_features(table.select(self._columns), cart, np.zeros(len(table), np.int64))
        return _log_odds(self._model, features)


def _fitted(features: Floats, label: Labels, seed: int, ids: Sequence[int] = ()) -> Any:
    import lightgbm

    if not 0.0 < label.mean() < 1.0:
        raise ValueError(f"gradient boosting: all {len(label)} labels are {label[0]}; it takes both classes")
    if len(label) > MAX_ROWS:
        kept = np.sort(np.random.default_rng(seed).choice(len(label), MAX_ROWS, replace=False))
        features, label = features[kept], label[kept]
    return lightgbm.train({**_SETTINGS, "seed": seed}, lightgbm.Dataset(features, label, categorical_feature=list(ids)), ROUNDS)


def _log_odds(model: Any, features: Floats) -> Floats:
    if not len(features):
        return np.zeros(0)
    return np.asarray(model.predict(features, raw_score=True, num_threads=1), np.float64)
