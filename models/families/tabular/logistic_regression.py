"""What every model must beat: popularity, a logistic regression on the same features, and the base rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.frames import scan_frame
from cartwheel.core.run_layout import RunLayout
from models.metrics.classification import Floats, Labels
from workflows.features.column import CATEGORICAL, Owner
from workflows.features.columns import CART, CROSS, ITEM_CONTINUOUS, QUERY_CONTINUOUS
from workflows.features.feature_set import read_feature_set

MOST_POPULAR: Final = "most_popular"
RECENTLY_POPULAR: Final = "recently_popular"
LOGISTIC_REGRESSION: Final = "logistic_regression"
BASE_RATE: Final = "base_rate"

POPULARITY: Final = {MOST_POPULAR: "item_events", RECENTLY_POPULAR: "item_recent_events"}
"""Popularity baseline -> the column that it ranks by, a count of interactions strictly before."""

MAX_ROWS: Final = 200_000
"""Training rows that the baselines learn from, sampled with the seed: more do not move the few weights of a logistic regression."""

CONTINUOUS: Final = QUERY_CONTINUOUS + ITEM_CONTINUOUS + CROSS + CART
LEVELS: Final = ("hour", "weekday")


def numbers(schema: Mapping[str, pl.DataType]) -> list[str]:
    """Return the encoded numbers of a table: the built-in columns in their order, then a shop's own."""
    own = [name for name, dtype in schema.items() if dtype == pl.Float32 and name not in CONTINUOUS]
    return [*(name for name in CONTINUOUS if name in schema), *own]


@dataclass(frozen=True)
class TrainRows:
    """A sample of the encoded training rows of a task."""

    table: pl.DataFrame
    """Continuous features, hour and weekday, own ids, and what else was asked for."""
    label: Labels
    """[n] 0 or 1."""

    @property
    def base_rate(self) -> float:
        """Share of rows with label 1; NaN without rows."""
        return float(self.label.mean()) if len(self.label) else float("nan")


def read_train_rows(run: Path, task: str, label: str, seed: int, unit: str | None = None) -> TrainRows:
    """Read at most ``MAX_ROWS`` rows of ``features/train/<task>``.

    Args:
        run: run directory.
        task: ``ranking`` or ``cart``.
        label: name of the label column.
        seed: fixes the sample.
        unit: a column, kept in the table, whose rows of equal value are sampled together: ``cart_id`` for whole carts.

    Raises:
        RunError: if the folder is missing or lacks a column.
    """
    folder = RunLayout(run).features("train", task)
    schema = scan_frame(folder).collect_schema()
    wanted = [*numbers(schema), *(name for name in LEVELS if name in schema)]
    own = read_feature_set(RunLayout(run)).own_names(CATEGORICAL, *Owner)
    kept = [*wanted, *own, *([unit] if unit else [])]
    lazy = scan_frame(folder, [*kept, label])
    chosen = _chosen_rows(lazy, unit, seed)
    if chosen is not None:
        keep = pl.LazyFrame({"row": chosen}, schema={"row": pl.get_index_type()})
        lazy = lazy.with_row_index("row").join(keep, on="row", how="semi").sort("row")
    table = lazy.collect()
    return TrainRows(table.select(kept), table[label].to_numpy().astype(np.int64))


def _chosen_rows(lazy: pl.LazyFrame, unit: str | None, seed: int) -> npt.NDArray[np.int64] | None:
    """Return the rows to read, ascending, or None where all fit."""
    rows = int(lazy.select(pl.len()).collect().item())
    if rows <= MAX_ROWS:
        return None
    generator = np.random.default_rng(seed)
    if unit is None:
        return np.sort(generator.choice(rows, size=MAX_ROWS, replace=False))
    code = lazy.select(pl.col(unit).rank("dense")).collect().to_series().to_numpy().astype(np.int64) - 1
    size = np.bincount(code)
    order = generator.permutation(len(size))
    taken = np.zeros(len(size), bool)
    taken[order[np.cumsum(size[order]) <= MAX_ROWS]] = True
    return np.flatnonzero(taken[code])


class LogisticBaseline:
    """A logistic regression on standardised continuous features and one-hot hour and weekday, with L2 penalty 1.

    It sees the features that the DLRM sees, less the ids: what it lacks is embeddings and interactions.

    Args:
        table: training features, encoded.
        label: [n] 0 or 1, both of them present.
        seed: fixes the solver.

    Raises:
        ValueError: if only one class is present.
    """

    def __init__(self, table: pl.DataFrame, label: Labels, seed: int) -> None:
        self._continuous = numbers(table.schema)
        self._levels = {name: np.unique(table[name].to_numpy()) for name in LEVELS if name in table.columns}
        self._model = _fitted(self._matrix(table), label, seed)

    def logit(self, table: pl.DataFrame) -> Floats:
        """Return [n] log odds of label 1."""
        if table.is_empty():
            return np.zeros(0)
        return np.asarray(self._model.decision_function(self._matrix(table)), np.float64)

    def _matrix(self, table: pl.DataFrame) -> Floats:
        blocks: list[npt.NDArray[Any]] = [table.select(self._continuous).to_numpy().astype(np.float64)]
        blocks += [table[name].to_numpy()[:, None] == levels for name, levels in self._levels.items()]
        return np.hstack(blocks).astype(np.float64)


class CartBaseline:
    """``LogisticBaseline`` on whole carts: the mean of the features of their lines, and how many lines there are."""

    def __init__(self, table: pl.DataFrame, label: Labels, cart: pl.Series, seed: int) -> None:
        self._continuous = numbers(table.schema)
        features, labels = cart_features(table.select(self._continuous), cart, label)
        self._model = _fitted(features, labels, seed)

    def logit(self, table: pl.DataFrame, cart: pl.Series) -> Floats:
        """Return the log odds of each cart, in the order in which carts first appear."""
        if table.is_empty():
            return np.zeros(0)
        features, _ = cart_features(table.select(self._continuous), cart, np.zeros(len(table), np.int64))
        return np.asarray(self._model.decision_function(features), np.float64)


def cart_features(lines: pl.DataFrame, cart: pl.Series, label: Labels) -> tuple[Floats, Labels]:
    """Sum up the lines of each cart, carts in the order in which they first appear.

    Args:
        lines: [n] continuous features of each line.
        cart: [n] cart of each line.
        label: [n] 0 or 1 of each line.

    Returns:
        [carts, features + 1] the means of the features and log1p of the number of lines; [carts] the highest label.
    """
    table = lines.with_columns(cart.alias("_cart"), pl.Series("_label", label))
    carts = table.group_by("_cart", maintain_order=True).agg(
        pl.col(lines.columns).cast(pl.Float64).mean(), pl.len().log1p().alias("_lines"), pl.col("_label").max()
    )
    return carts.select(*lines.columns, "_lines").to_numpy(), carts["_label"].to_numpy()


def _fitted(features: Floats, label: Labels, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed)).fit(features, label)
