"""Evaluates the ranking and the cart model on the rows that they predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import RunError
from cartwheel.core.frames import read_frame
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import check_aligned, read_json
from evaluation.figures import Protocol, Record
from evaluation.lists import NOTHING
from evaluation.oracle import Oracle, OracleQueries, line_probability
from evaluation.probabilities import Forecast, probability_records
from evaluation.protocols.protocol import SAMPLED_PROBABILITIES_WARNING
from evaluation.settings import EvaluateSettings
from evaluation.thresholds import chosen_threshold, given_threshold
from models.families.tabular.gradient_boosting import GRADIENT_BOOSTING, GradientBoostingBaseline, GradientBoostingCartBaseline
from models.families.tabular.logistic_regression import (
    BASE_RATE,
    LOGISTIC_REGRESSION,
    POPULARITY,
    CartBaseline,
    LogisticBaseline,
    TrainRows,
    read_train_rows,
)
from models.families.tabular.row_learner import CartLearner, MakeCartLearner, MakeRowLearner, RowLearner
from models.metrics.classification import Floats, Labels
from models.training.calibration import CartHead, Platt, head_features, sigmoid
from workflows.tasks.task_names import CART, CART_LINE, DLRM, JUST_ADDED, ORACLE, RANKING, SPLIT, VALID

_LEARNERS: Final[Mapping[str, MakeRowLearner]] = {
    LOGISTIC_REGRESSION: LogisticBaseline,
    GRADIENT_BOOSTING: GradientBoostingBaseline,
}
_CART_LEARNERS: Final[Mapping[str, MakeCartLearner]] = {
    LOGISTIC_REGRESSION: CartBaseline,
    GRADIENT_BOOSTING: GradientBoostingCartBaseline,
}


@dataclass(frozen=True)
class _Rows:
    """The rows of a task in a split, and what the model says of them."""

    examples: pl.DataFrame
    """Raw examples."""
    features: pl.DataFrame
    """Encoded, row-aligned."""
    label: Labels
    users: npt.NDArray[Any]
    logit: Floats
    """[n] of the model's ONNX file."""


@dataclass(frozen=True)
class _Baselines:
    """What stands beside the model of a task, fitted on the training split."""

    train: TrainRows
    learners: Mapping[str, RowLearner]
    """Name -> fitted on ``train``; empty where training has one class only."""

    def forecasts(self, rows: _Rows) -> list[Forecast]:
        """Return what they say of rows."""
        forecasts = []
        for name, learner in self.learners.items():
            logit = learner.logit(rows.features)
            forecasts.append(Forecast(name, "baseline", logit, sigmoid(logit)))
        for name, column in POPULARITY.items():
            counts = rows.examples[column].fill_null(0.0).fill_nan(0.0).to_numpy().astype(np.float64)
            forecasts.append(Forecast(name, "baseline", counts))
        return [*forecasts, _base_rate(self.train, len(rows.label))]


@dataclass(frozen=True)
class _CartBaselines:
    """What stands beside the cart head, fitted on the training carts."""

    train: TrainRows
    """One row a cart."""
    learners: Mapping[str, CartLearner]
    """Name -> fitted; empty where training has one class only."""


@dataclass(frozen=True)
class Forecasts:
    """What the model and its baselines predict for the rows of a task in one split."""

    label: Labels
    """[n] 0 or 1."""
    users: npt.NDArray[Any]
    """[n] user key."""
    forecasts: tuple[Forecast, ...]
    """The model first."""

    def decided(self, settings: EvaluateSettings, valid: Callable[[], Forecasts]) -> Forecasts:
        """Return these with a threshold for each that gives probabilities.

        Args:
            settings: the threshold, or how it is chosen.
            valid: returns what the same models say of the validation rows; not asked where the settings give a number.
        """
        given = given_threshold(settings)
        seen = valid() if given is None else self
        decided = [
            each
            if said.probability is None
            else replace(each, threshold=given or chosen_threshold(seen.label, said.probability, settings, VALID))
            for each, said in zip(self.forecasts, seen.forecasts, strict=True)
        ]
        return replace(self, forecasts=tuple(decided))


def read_forecasts(run: Path, task: str, seed: int) -> Forecasts:
    """Return what ``ranking_records`` and ``cart_records`` judge, of a run that was evaluated before; without thresholds.

    Args:
        run: run directory after prepare and train.
        task: ``ranking``, or ``cart`` for the lines of carts.
        seed: fixes the sample that the baselines learn from; with the evaluation's own the metrics are equal.

    Raises:
        RunError: if a file or a column is missing or tables are not row-aligned.
    """
    return _forecasts(run, task, _read_rows(run, task, SPLIT), _learn(run, task, seed))


def ranking_records(
    run: Path, settings: EvaluateSettings, seed: int, oracle: Oracle | None
) -> tuple[list[Record], dict[str, Forecasts]]:
    """Judge ``models/ranking`` on ``features/test/ranking``.

    Args:
        run: run directory.
        settings: resamples, and the threshold of decisions.
        seed: fixes samples and resamples.
        oracle: the truth, evaluated by its order only: it knows the next view, not how negatives were sampled.

    Returns:
        The records, and under the task's name what the model and its baselines predict.

    Raises:
        RunError: if a file or a column is missing or tables are not row-aligned.
    """
    rows, baselines = _read_rows(run, RANKING, SPLIT), _learn(run, RANKING, seed)
    found = _forecasts(run, RANKING, rows, baselines).decided(
        settings, lambda: _forecasts(run, RANKING, _read_rows(run, RANKING, VALID), baselines)
    )
    forecasts = list(found.forecasts)
    if oracle is not None:
        queries = OracleQueries(run, SPLIT, oracle)
        row = _rows_of(queries.example_id, rows.examples["example_id"].to_numpy())
        forecasts.append(Forecast(ORACLE, "oracle", queries.pairs(row, rows.examples["item_id"].to_list())))
    candidates = "one item that the shopper turned to, and items sampled among those that the shopper did not"
    protocol = replace(_protocol(rows, candidates), warning=SAMPLED_PROBABILITIES_WARNING)
    records = probability_records(RANKING, rows.label, rows.users, forecasts, settings, seed, protocol)
    return records, {RANKING: found}


def cart_records(
    run: Path, settings: EvaluateSettings, seed: int, oracle: Oracle | None
) -> tuple[list[Record], dict[str, Forecasts]]:
    """Judge ``models/cart`` on the lines and on the carts of ``features/test/cart``; nothing where the log has no carts.

    Args:
        run: run directory.
        settings: resamples, and the threshold of decisions.
        seed: fixes samples and resamples.
        oracle: the truth; it knows the line that was just added, so it and the models are evaluated on those lines apart.

    Returns:
        The records, and under the name of the lines' task what the model and its baselines predict for them.

    Raises:
        RunError: if a file or a column is missing or tables are not row-aligned.
    """
    if not RunLayout(run).model(CART).scores.is_file() or not RunLayout(run).examples(SPLIT, "cart").is_file():
        return [], {}
    rows, baselines, cart_baselines = _read_rows(run, CART, SPLIT), _learn(run, CART, seed), _learn_carts(run, seed)
    valid = cache(lambda: _read_rows(run, CART, VALID))
    found = _forecasts(run, CART, rows, baselines).decided(settings, lambda: _forecasts(run, CART, valid(), baselines))
    carts = _cart_forecasts(run, rows, cart_baselines).decided(settings, lambda: _cart_forecasts(run, valid(), cart_baselines))
    protocol = _protocol(rows, "the lines of each cart just after something was added to it")
    records = probability_records(CART_LINE, rows.label, rows.users, found.forecasts, settings, seed, protocol)
    records += _whole_cart_records(carts, len(rows.label), settings, seed)
    if oracle is not None:
        records += _just_added_records(found, line_probability(oracle, rows.examples), settings, seed)
    return records, {CART_LINE: found}


def _just_added_records(rows: Forecasts, truth: Floats, settings: EvaluateSettings, seed: int) -> list[Record]:
    known = np.flatnonzero(~np.isnan(truth))
    same = [  # without decisions: their thresholds were chosen for all lines
        Forecast(each.model, each.role, each.score[known], None if each.probability is None else each.probability[known])
        for each in rows.forecasts
    ]
    same.append(Forecast(ORACLE, "oracle", truth[known], truth[known]))
    protocol = Protocol(
        SPLIT,
        "the line whose adding made the moment of the prediction",
        "",
        {"rows": len(known), "users": len(np.unique(rows.users[known]))},
        "older lines of the cart, of which the oracle knows nothing",
        "",
    )
    return probability_records(JUST_ADDED, rows.label[known], rows.users[known], same, settings, seed, protocol)


def _whole_cart_records(carts: Forecasts, lines: int, settings: EvaluateSettings, seed: int) -> list[Record]:
    sizes = {"carts": len(carts.label), "lines": lines, "users": len(np.unique(carts.users))}
    protocol = Protocol(SPLIT, "carts just after something was added to them", "", sizes, NOTHING, "")
    return probability_records(CART, carts.label, carts.users, carts.forecasts, settings, seed, protocol)


def _learn_carts(run: Path, seed: int) -> _CartBaselines:
    train = read_train_rows(run, CART, "cart_label", seed, "cart_id")
    one_each = train.table.with_columns(pl.Series("_label", train.label)).unique("cart_id", maintain_order=True)
    base = TrainRows(one_each, one_each["_label"].to_numpy())
    if not 0.0 < base.base_rate < 1.0:
        return _CartBaselines(base, {})
    return _CartBaselines(
        base,
        {name: learner(train.table, train.label, train.table["cart_id"], seed) for name, learner in _CART_LEARNERS.items()},
    )


def _cart_forecasts(run: Path, rows: _Rows, baselines: _CartBaselines) -> Forecasts:
    """Return what is said of the whole carts that the rows are lines of."""
    carts = cart_summary(rows.examples["cart_id"], rows.logit, rows.examples["cart_label"], pl.Series(rows.users))
    logit = cart_logit(run, carts)
    forecasts = [Forecast(DLRM, "model", logit, sigmoid(logit))]
    for name, learner in baselines.learners.items():
        said = learner.logit(rows.features, rows.examples["cart_id"])
        forecasts.append(Forecast(name, "baseline", said, sigmoid(said)))
    forecasts.append(_base_rate(baselines.train, len(carts)))
    return Forecasts(carts["label"].to_numpy().astype(np.int64), carts["user"].to_numpy(), tuple(forecasts))


def cart_summary(cart: pl.Series, logit: Floats, label: pl.Series, user: pl.Series) -> pl.DataFrame:
    """Return what the cart head sees of each cart, in the order in which carts first appear.

    Args:
        cart: [n] cart of each line.
        logit: [n] uncalibrated logit of each line.
        label: [n] whether anything of the line's cart gets bought.
        user: [n] user of each line.

    Returns:
        ``max``, ``mean``, ``lines`` (log1p of their number), ``label`` and ``user`` of each cart.
    """
    features, first = head_features(cart.to_list(), logit)
    columns = dict(zip(("max", "mean", "lines"), features.T, strict=True))
    return pl.DataFrame({**columns, "label": label.gather(first), "user": user.gather(first)})


def cart_logit(run: Path, carts: pl.DataFrame) -> Floats:
    """Return the log odds that the cart head gives to each cart of ``cart_summary``, at least those of its likeliest line.

    Raises:
        RunError: if ``head.json`` or ``calibration.json`` of the model is missing or lacks its numbers.
    """
    path = RunLayout(run).model(CART).head
    told = read_json(path).get("weights", [])
    weights = np.asarray(told, np.float64)
    if weights.shape != (3,) or not np.isfinite(weights).all():
        raise RunError(f"{path}: weights is {told!r}, expected three numbers.", "Run `cartwheel train` again.")
    head = CartHead(tuple(weights.tolist()), _numbers(path, "bias")["bias"])
    return head.log_odds(carts.select("max", "mean", "lines").to_numpy().astype(np.float64), _read_platt(run))


def _read_rows(run: Path, task: str, split: str) -> _Rows:
    layout = RunLayout(run)
    example_path, folder = layout.examples(split, task), layout.features(split, task)
    examples, features = read_frame(example_path), read_frame(folder)
    check_aligned(example_path, len(examples), folder, len(features))
    model = OnnxModel(layout.model(task).scores)
    columns = {name: features[name].to_numpy() for name in model.inputs if name in features.columns}
    logit = model.table(columns)[:, 0] if len(features) else np.zeros(0)
    label = examples["label"].to_numpy().astype(np.int64)
    return _Rows(examples, features, label, _users(run, split, examples), np.asarray(logit, np.float64))


def _learn(run: Path, task: str, seed: int) -> _Baselines:
    train = read_train_rows(run, task, "label", seed)
    both = 0.0 < train.base_rate < 1.0
    return _Baselines(
        train, {name: learner(train.table, train.label, seed) for name, learner in _LEARNERS.items()} if both else {}
    )


def _forecasts(run: Path, task: str, rows: _Rows, baselines: _Baselines) -> Forecasts:
    return Forecasts(rows.label, rows.users, (_model_forecast(run, task, rows), *baselines.forecasts(rows)))


def _model_forecast(run: Path, task: str, rows: _Rows) -> Forecast:
    """Return the model's own forecast: the cart's logits are calibrated before they are probabilities."""
    logit = rows.logit
    if task == CART:
        platt = _read_platt(run)
        logit = platt.slope * logit + platt.intercept
    return Forecast(DLRM, "model", logit, sigmoid(logit))


def _read_platt(run: Path) -> Platt:
    found = _numbers(RunLayout(run).model(CART).calibration, "slope", "intercept")
    return Platt(found["slope"], found["intercept"])


def _users(run: Path, split: str, examples: pl.DataFrame) -> npt.NDArray[Any]:
    """Return the user key of each row; ranking rows have it in the recommendation of the same example."""
    if "user_key" in examples.columns:
        return examples["user_key"].to_numpy()
    keys = read_frame(RunLayout(run).examples(split, "recommend"), ["example_id", "user_key"])
    joined = examples.select("example_id").join(keys.unique("example_id"), on="example_id", how="left", maintain_order="left")
    return joined.select(pl.coalesce("user_key", pl.format("example:{}", "example_id"))).to_series().to_numpy()


def _rows_of(example_id: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    order = np.argsort(example_id, kind="stable")
    return order[np.clip(np.searchsorted(example_id[order], wanted), 0, len(order) - 1)].astype(np.int64)


def _base_rate(train: TrainRows, rows: int) -> Forecast:
    rate = np.full(rows, train.base_rate if len(train.label) else 0.5)
    return Forecast(BASE_RATE, "baseline", rate, rate)


def _protocol(rows: _Rows, candidates: str) -> Protocol:
    sizes = {"rows": len(rows.label), "positives": int(rows.label.sum()), "users": len(np.unique(rows.users))}
    return Protocol(SPLIT, candidates, "", sizes, NOTHING, "")


def _numbers(path: Path, *names: str) -> dict[str, float]:
    content = read_json(path)
    for name in names:
        if not isinstance(content.get(name), int | float) or not np.isfinite(content[name]):
            raise RunError(f"{path}: {name} is {content.get(name)!r}, expected a finite number.", "Run `cartwheel train` again.")
    return {name: float(content[name]) for name in names}
